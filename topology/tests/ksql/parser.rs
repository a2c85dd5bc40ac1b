//! From tokens to statements, by recursive descent.

use super::{
    lexer::{Token, tokens},
    syntax::*,
    types::Type,
};

type Parsed<T> = Result<T, String>;

/// The statements of a file, each with the line that it begins on.
pub fn statements(sql: &str) -> Parsed<Vec<(Statement, usize)>> {
    let mut parser = Parser { tokens: tokens(sql)?, at: 0 };
    let mut all = Vec::new();
    while parser.at < parser.tokens.len() {
        let line = parser.line();
        let statement = parser.statement().and_then(|s| parser.symbol(";").map(|()| s));
        all.push((statement.map_err(|why| format!("line {}: {why}", parser.line()))?, line));
    }
    Ok(all)
}

struct Parser {
    tokens: Vec<(Token, usize)>,
    at: usize,
}

impl Parser {
    fn line(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(0, |(_, line)| *line)
    }

    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    fn next(&mut self) -> Parsed<Token> {
        let token = self.peek().cloned().ok_or("the file ends within a statement")?;
        self.at += 1;
        Ok(token)
    }

    /// Takes the token, if it comes next.
    fn take(&mut self, token: &Token) -> bool {
        let is_next = self.peek() == Some(token);
        self.at += usize::from(is_next);
        is_next
    }

    fn word(&mut self, word: &str) -> bool {
        self.take(&Token::Word(word.into()))
    }

    fn words(&mut self, words: &str) -> Parsed<()> {
        words
            .split(' ')
            .try_for_each(|word| if self.word(word) { Ok(()) } else { Err(format!("{word} is missing before {:?}", self.peek())) })
    }

    fn sign(&mut self, symbol: &'static str) -> bool {
        self.take(&Token::Symbol(symbol))
    }

    fn symbol(&mut self, symbol: &'static str) -> Parsed<()> {
        if self.sign(symbol) { Ok(()) } else { Err(format!("{symbol} is missing before {:?}", self.peek())) }
    }

    fn name(&mut self) -> Parsed<String> {
        const RESERVED: [&str; 20] = [
            "AT", "LEFT", "RIGHT", "VALUES", "FROM", "WHERE", "GROUP", "HAVING", "EMIT", "SELECT", "AS", "TABLE", "STREAM", "TOPIC",
            "WITH", "END", "ON", "BY", "NULL", "QUERY",
        ];
        match self.next()? {
            Token::Word(word) if RESERVED.contains(&word.as_str()) => Err(format!("{word} is a keyword; put it in backticks")),
            Token::Word(name) | Token::Quoted(name) => Ok(name),
            other => Err(format!("a name is missing before {other:?}")),
        }
    }

    fn text(&mut self) -> Parsed<String> {
        match self.next()? {
            Token::Text(text) => Ok(text),
            other => Err(format!("a text is missing before {other:?}")),
        }
    }

    fn number(&mut self) -> Parsed<i64> {
        match self.next()? {
            Token::Number(number) => Ok(number),
            other => Err(format!("a number is missing before {other:?}")),
        }
    }

    fn list<T>(&mut self, close: &'static str, mut item: impl FnMut(&mut Self) -> Parsed<T>) -> Parsed<Vec<T>> {
        let mut items = vec![item(self)?];
        while self.sign(",") {
            items.push(item(self)?);
        }
        self.symbol(close).map(|()| items)
    }

    fn statement(&mut self) -> Parsed<Statement> {
        if self.word("SET") {
            self.text()?;
            self.symbol("=")?;
            self.text().map(|_| Statement::Set)
        } else if self.word("DEFINE") {
            let name = self.name()?;
            self.symbol("=")?;
            self.text().map(|_| Statement::Define(name))
        } else if self.word("ASSERT") {
            self.assertion()
        } else if self.word("CREATE") {
            self.create()
        } else if self.word("INSERT") {
            self.words("INTO")?;
            Ok(Statement::Insert { into: self.name()?, query: self.query()? })
        } else {
            self.query().map(Statement::Select)
        }
    }

    fn assertion(&mut self) -> Parsed<Statement> {
        let asserted = if self.word("TOPIC") {
            Statement::AssertTopic { topic: self.text()?, with: self.properties()? }
        } else {
            self.words("SCHEMA SUBJECT")?;
            Statement::AssertSchema { subject: self.text()? }
        };
        if self.word("TIMEOUT") {
            self.number()?;
            self.words("SECONDS")?;
        }
        Ok(asserted)
    }

    fn create(&mut self) -> Parsed<Statement> {
        let is_lookup = self.word("SOURCE");
        let is_table = self.word("TABLE");
        if !is_table {
            self.words("STREAM")?;
        }
        let name = self.name()?;
        if self.sign("(") {
            let columns = self.list(")", Self::column)?;
            return Ok(Statement::CreateSource { is_table, is_lookup, name, columns, with: self.properties()? });
        }
        let with = self.properties()?;
        self.words("AS")?;
        Ok(Statement::CreateAs { is_table, name, with, query: self.query()? })
    }

    fn column(&mut self) -> Parsed<Column> {
        let (name, of) = (self.name()?, self.type_name()?);
        let role = if self.word("PRIMARY") {
            self.words("KEY")?;
            Role::PrimaryKey
        } else if self.word("KEY") {
            Role::Key
        } else if self.word("HEADER") {
            self.symbol("(")?;
            let header = self.text()?;
            self.symbol(")")?;
            Role::Header(header)
        } else {
            Role::Value
        };
        Ok(Column { name, of, role })
    }

    fn type_name(&mut self) -> Parsed<Type> {
        let Token::Word(word) = self.next()? else { return Err("a type is missing".into()) };
        Ok(match word.as_str() {
            "BOOLEAN" => Type::Boolean,
            "INT" | "INTEGER" => Type::Integer,
            "BIGINT" => Type::Bigint,
            "DOUBLE" => Type::Double,
            "STRING" | "VARCHAR" => Type::String,
            "BYTES" => Type::Bytes,
            "TIMESTAMP" => Type::Timestamp,
            "ARRAY" => {
                self.symbol("<")?;
                let of = self.type_name()?;
                self.symbol(">")?;
                Type::array(of)
            }
            "MAP" => {
                self.symbol("<")?;
                let key = self.type_name()?;
                self.symbol(",")?;
                let of = self.type_name()?;
                self.symbol(">")?;
                Type::Map(Box::new(key), Box::new(of))
            }
            "STRUCT" => {
                self.symbol("<")?;
                Type::Struct(self.list(">", |p| Ok((p.name()?, p.type_name()?)))?)
            }
            other => return Err(format!("there is no type {other}")),
        })
    }

    fn properties(&mut self) -> Parsed<Properties> {
        if !self.word("WITH") {
            return Ok(Properties::new());
        }
        self.symbol("(")?;
        let property = |p: &mut Self| {
            let name = p.name()?;
            p.symbol("=")?;
            match p.next()? {
                Token::Text(text) => Ok((name, Literal::Text(text))),
                Token::Number(number) => Ok((name, Literal::Number(number))),
                other => Err(format!("{name}: {other:?} is no value")),
            }
        };
        Ok(self.list(")", property)?.into_iter().collect())
    }

    fn query(&mut self) -> Parsed<Query> {
        self.words("SELECT")?;
        let mut items = Vec::new();
        loop {
            let item = self.expression()?;
            let name = if self.word("AS") { self.name()? } else { own_name(&item)? };
            items.push((name, item));
            if !self.sign(",") {
                break;
            }
        }
        self.words("FROM")?;
        let from = self.name()?;
        let is_windowed = self.word("WINDOW");
        if is_windowed {
            self.window()?;
        }
        let filter = if self.word("WHERE") { Some(self.expression()?) } else { None };
        let group_by = if self.word("GROUP") {
            self.words("BY")?;
            Some(self.expression()?)
        } else {
            None
        };
        let having = if self.word("HAVING") { Some(self.expression()?) } else { None };
        let is_push = self.word("EMIT");
        if is_push {
            self.words("CHANGES")?;
        }
        Ok(Query { items, from, is_windowed, filter, group_by, having, is_push })
    }

    fn window(&mut self) -> Parsed<()> {
        self.words("TUMBLING")?;
        self.symbol("(")?;
        let spans = self.list(")", |p| {
            let what = p.name()?;
            if what == "GRACE" {
                p.words("PERIOD")?;
            }
            let (number, unit) = (p.number()?, p.name()?);
            if number > 0 && unit.trim_end_matches('S').len() > 2 { Ok(what) } else { Err(format!("{what}: no span")) }
        })?;
        if spans == ["SIZE", "RETENTION", "GRACE"] { Ok(()) } else { Err(format!("a window's size, retention and grace, not {spans:?}")) }
    }

    fn expression(&mut self) -> Parsed<Expr> {
        self.binary(0)
    }

    /// What binds loosest first; NOT is between AND and the comparisons.
    fn binary(&mut self, level: usize) -> Parsed<Expr> {
        const LEVELS: [&[&str]; 5] = [&["OR"], &["AND"], &["<>", "<=", ">=", "=", "<", ">"], &["+", "-"], &["*", "/"]];
        let Some(operators) = LEVELS.get(level) else { return self.primary() };
        if level == 2 && self.word("NOT") {
            return Ok(Expr::Not(Box::new(self.binary(2)?)));
        }
        let mut left = self.binary(level + 1)?;
        while let Some(operator) = operators.iter().find(|o| self.sign(o) || self.word(o)) {
            left = Expr::Binary(operator, Box::new(left), Box::new(self.binary(level + 1)?));
        }
        if level == 2 && self.word("IS") {
            self.words("NOT NULL")?;
            left = Expr::IsNotNull(Box::new(left));
        }
        Ok(left)
    }

    fn primary(&mut self) -> Parsed<Expr> {
        let mut base = match self.peek() {
            Some(Token::Text(_)) => Expr::Text(self.text()?),
            Some(Token::Number(_)) => Expr::Number(self.number()?),
            Some(Token::Symbol("(")) => {
                self.symbol("(")?;
                let inner = self.expression()?;
                self.symbol(")")?;
                inner
            }
            Some(Token::Word(word)) if word == "CASE" => self.case()?,
            _ => {
                let name = self.name()?;
                if self.sign("(") { Expr::Call(name, self.arguments()?) } else { Expr::Name(name) }
            }
        };
        loop {
            if self.sign("[") {
                base = Expr::Index(Box::new(base), Box::new(self.expression()?));
                self.symbol("]")?;
            } else if self.sign("->") {
                base = Expr::Field(Box::new(base), self.name()?);
            } else {
                return Ok(base);
            }
        }
    }

    fn arguments(&mut self) -> Parsed<Vec<Expr>> {
        if self.sign(")") {
            return Ok(Vec::new());
        }
        self.list(")", |p| {
            if p.sign("*") {
                return Ok(Expr::Star);
            }
            match p.tokens.get(p.at..p.at + 2) {
                Some([(Token::Word(parameter), _), (Token::Symbol("=>"), _)]) => {
                    let parameter = parameter.clone();
                    p.at += 2;
                    Ok(Expr::Lambda(parameter, Box::new(p.expression()?)))
                }
                _ => p.expression(),
            }
        })
    }

    fn case(&mut self) -> Parsed<Expr> {
        self.words("CASE")?;
        let mut branches = Vec::new();
        while self.word("WHEN") {
            let condition = self.expression()?;
            self.words("THEN")?;
            branches.push((condition, self.expression()?));
        }
        self.words("ELSE")?;
        let otherwise = self.expression()?;
        self.words("END")?;
        Ok(Expr::Case(branches, Box::new(otherwise)))
    }
}

/// A column is called by its own name; anything else must be given one, since ksqlDB would make one up.
fn own_name(item: &Expr) -> Parsed<String> {
    match item {
        Expr::Name(name) => Ok(name.clone()),
        other => Err(format!("no AS after {other:?}")),
    }
}
