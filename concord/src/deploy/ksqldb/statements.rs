//! A migration's text, as the statements that it is made of.

use anyhow::{Context, bail, ensure};

/// What is done with one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Statement {
    /// `SET 'name' = 'value';`: later statements are run with it.
    Set { name: String, value: String },
    /// `UNSET 'name';`
    Unset(String),
    /// Sent as it is, but for comments.
    Run(String),
}

/// Each ends with a semicolon that is in no text, name or comment.
pub fn statements(sql: &str) -> anyhow::Result<Vec<Statement>> {
    let (mut statements, mut current, mut rest) = (Vec::new(), String::new(), sql);
    while let Some(first) = rest.chars().next() {
        let length = match first {
            // A quote within is written twice, which is two texts side by side.
            '\'' | '`' | '"' => {
                let end = rest[1..].find(first).with_context(|| format!("{first} is not closed: {}", start(rest)))? + 2;
                current.push_str(&rest[..end]);
                end
            }
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => {
                current.push(' ');
                rest[2..].find("*/").with_context(|| format!("a comment is not closed: {}", start(rest)))? + 4
            }
            ';' => {
                statements.push(statement(current.trim())?);
                current.clear();
                1
            }
            other => {
                current.push(other);
                other.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    ensure!(current.trim().is_empty(), "the last statement has no semicolon: {}", start(current.trim()));
    Ok(statements)
}

fn statement(text: &str) -> anyhow::Result<Statement> {
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    match word.to_ascii_uppercase().as_str() {
        "" => bail!("a statement is empty"),
        "SET" => {
            let (name, rest) = literal(rest).with_context(|| format!("not understood: {}", start(text)))?;
            let value = rest.trim_start().strip_prefix('=').and_then(literal).filter(|(_, rest)| rest.trim().is_empty());
            let (value, _) = value.with_context(|| format!("not understood: {}", start(text)))?;
            Ok(Statement::Set { name, value })
        }
        "UNSET" => match literal(rest) {
            Some((name, rest)) if rest.trim().is_empty() => Ok(Statement::Unset(name)),
            _ => bail!("not understood: {}", start(text)),
        },
        "DEFINE" | "UNDEFINE" => bail!("variables are not known here: {}", start(text)),
        _ => Ok(Statement::Run(format!("{text};"))),
    }
}

/// A text in quotes at the beginning, and what is behind it.
fn literal(text: &str) -> Option<(String, &str)> {
    let (mut value, mut rest) = (String::new(), text.trim_start().strip_prefix('\'')?);
    loop {
        let end = rest.find('\'')?;
        value.push_str(&rest[..end]);
        rest = &rest[end + 1..];
        match rest.strip_prefix('\'') {
            Some(more) => {
                value.push('\'');
                rest = more;
            }
            None => return Some((value, rest)),
        }
    }
}

/// A text as ksqlDB's SQL writes it.
pub fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// Enough of it to be found.
fn start(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str) -> Statement {
        Statement::Run(text.into())
    }

    #[test]
    fn semicolons_and_comments_in_quotes_are_text() {
        let sql = "-- first; comment\nSET 'a.b' = 'it''s; on';\nCREATE STREAM x AS /* why; 'so */ SELECT 'a;--b', `c;d`, \"e;f\" FROM y;\nUNSET 'a.b'; -- end";
        let expected = [
            Statement::Set { name: "a.b".into(), value: "it's; on".into() },
            run("CREATE STREAM x AS   SELECT 'a;--b', `c;d`, \"e;f\" FROM y;"),
            Statement::Unset("a.b".into()),
        ];
        assert_eq!(statements(sql).unwrap(), expected);
        assert_eq!(statements("CREATE STREAM /*/ a; b */ x;").unwrap(), [run("CREATE STREAM   x;")]);
        assert_eq!(statements("  -- nothing\n").unwrap(), []);
        assert_eq!(quoted("it's"), "'it''s'");
    }

    #[test]
    fn what_is_not_whole_is_refused() {
        for (sql, says) in [
            ("CREATE STREAM x", "no semicolon"),
            ("SELECT 'a;", "not closed"),
            ("SELECT 1 /* a;", "not closed"),
            ("SET a = 'b';", "not understood"),
            ("SET 'a' = 'b' c;", "not understood"),
            ("DEFINE a = 'b';", "variables"),
            (";", "empty"),
        ] {
            let error = statements(sql).unwrap_err().to_string();
            assert!(error.contains(says), "{sql}: {error}");
        }
    }
}
