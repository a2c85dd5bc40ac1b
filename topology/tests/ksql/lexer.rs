//! The tokens of ksqlDB's SQL.

#[derive(Clone, Debug, PartialEq)]
pub enum Token {
    /// A name or a keyword, upper-cased, as ksqlDB does.
    Word(String),
    /// A name in backticks: it keeps its case, and is no keyword.
    Quoted(String),
    Text(String),
    Number(i64),
    Symbol(&'static str),
}

/// Longer ones first.
const SYMBOLS: [&str; 21] =
    ["->", "=>", "<>", "!=", "<=", ">=", ":=", "=", "<", ">", "+", "-", "*", "/", "(", ")", "[", "]", ",", ".", ";"];

/// Tokens with the lines that they stand on.
pub fn tokens(sql: &str) -> Result<Vec<(Token, usize)>, String> {
    let (mut rest, mut line, mut out) = (sql, 1, Vec::new());
    while let Some(first) = rest.chars().next() {
        let (token, length) = if first.is_whitespace() {
            (None, first.len_utf8())
        } else if rest.starts_with("--") {
            (None, rest.find('\n').ok_or("a comment without a line end, which ksql-migrations does not take")?)
        } else if first.is_ascii_alphabetic() || first == '_' {
            let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            (Some(Token::Word(rest[..length].to_ascii_uppercase())), length)
        } else if first.is_ascii_digit() {
            let length = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            (Some(Token::Number(rest[..length].parse().map_err(|e| format!("line {line}: {e}"))?)), length)
        } else if first == '\'' || first == '`' {
            let end = rest[1..].find(first).ok_or_else(|| format!("line {line}: {first} is not closed"))?;
            let inner = rest[1..=end].to_string();
            (Some(if first == '`' { Token::Quoted(inner) } else { Token::Text(inner) }), end + 2)
        } else {
            let symbol = SYMBOLS.iter().find(|s| rest.starts_with(**s)).ok_or_else(|| format!("line {line}: what is {first:?}?"))?;
            (Some(Token::Symbol(symbol)), symbol.len())
        };
        out.extend(token.map(|token| (token, line)));
        line += rest[..length].matches('\n').count();
        rest = &rest[length..];
    }
    Ok(out)
}
