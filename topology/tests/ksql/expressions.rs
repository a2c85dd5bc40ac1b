//! The types of expressions, and which functions there are.

use super::{syntax::Expr, types::Type};
use std::collections::BTreeMap;

pub type Scope = BTreeMap<String, Type>;

/// Aggregates that can subtract what they added, which a table's need: ksqlDB calls them table aggregates.
const UNDOABLE: [&str; 4] = ["COUNT", "SUM", "COLLECT_LIST", "HISTOGRAM"];
const NOT_UNDOABLE: [&str; 5] = ["MAX", "MIN", "LATEST_BY_OFFSET", "EARLIEST_BY_OFFSET", "COUNT_DISTINCT"];

pub fn is_undoable(function: &str) -> bool {
    UNDOABLE.contains(&function)
}

/// Every aggregate in the expression.
pub fn aggregates(expr: &Expr) -> Vec<&str> {
    let mut found: Vec<&str> = parts(expr).into_iter().flat_map(aggregates).collect();
    if let Expr::Call(name, _) = expr
        && (is_undoable(name) || NOT_UNDOABLE.contains(&name.as_str()))
    {
        found.push(name);
    }
    found
}

/// Columns outside of aggregates, but for `grouped`, which each row of a group has in common.
pub fn ungrouped<'a>(expr: &'a Expr, grouped: &Expr) -> Vec<&'a str> {
    match expr {
        same if same == grouped => Vec::new(),
        Expr::Name(name) => vec![name],
        Expr::Call(name, _) if is_undoable(name) || NOT_UNDOABLE.contains(&name.as_str()) => Vec::new(),
        other => parts(other).into_iter().flat_map(|part| ungrouped(part, grouped)).collect(),
    }
}

fn parts(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::Text(_) | Expr::Number(_) | Expr::Name(_) | Expr::Star => Vec::new(),
        Expr::Call(_, arguments) => arguments.iter().collect(),
        Expr::Lambda(_, inner) | Expr::Field(inner, _) | Expr::Not(inner) | Expr::IsNotNull(inner) => vec![inner],
        Expr::Index(left, right) | Expr::Binary(_, left, right) => vec![left, right],
        Expr::Case(branches, otherwise) => branches.iter().flat_map(|(when, then)| [when, then]).chain([&**otherwise]).collect(),
    }
}

pub fn type_of(expr: &Expr, scope: &Scope) -> Result<Type, String> {
    let must = |expr: &Expr, wanted: Type| match type_of(expr, scope)? {
        found if found == wanted => Ok(()),
        found => Err(format!("{wanted} is needed, not {found}")),
    };
    Ok(match expr {
        Expr::Text(_) => Type::String,
        Expr::Number(number) => i32::try_from(*number).map_or(Type::Bigint, |_| Type::Integer),
        Expr::Name(name) => scope.get(name).cloned().ok_or_else(|| format!("there is no column {name}"))?,
        Expr::Star | Expr::Lambda(..) => return Err("only within a function's brackets".into()),
        Expr::Not(inner) => must(inner, Type::Boolean).map(|()| Type::Boolean)?,
        Expr::IsNotNull(inner) => type_of(inner, scope).map(|_| Type::Boolean)?,
        Expr::Field(base, field) => match type_of(base, scope)? {
            Type::Struct(fields) => {
                fields.into_iter().find(|(name, _)| name == field).ok_or_else(|| format!("there is no field {field}"))?.1
            }
            other => return Err(format!("{other} has no fields; ->{field}")),
        },
        Expr::Index(base, index) => match (type_of(base, scope)?, type_of(index, scope)?) {
            (Type::Array(of), Type::Integer) => *of,
            (Type::Map(key, of), index) if *key == index => *of,
            (base, index) => return Err(format!("{base} has no place {index}")),
        },
        Expr::Case(branches, otherwise) => {
            let result = type_of(otherwise, scope)?;
            for (when, then) in branches {
                must(when, Type::Boolean)?;
                must(then, result.clone())?;
            }
            result
        }
        Expr::Binary("AND" | "OR", left, right) => {
            must(left, Type::Boolean)?;
            must(right, Type::Boolean)?;
            Type::Boolean
        }
        Expr::Binary(operator, left, right) => {
            let (left, right) = (type_of(left, scope)?, type_of(right, scope)?);
            let numbers = left.is_number() && right.is_number();
            match *operator {
                "+" | "-" | "*" | "/" if numbers && (left == Type::Bigint || right == Type::Bigint) => Type::Bigint,
                "+" | "-" | "*" | "/" if numbers && left == right => left,
                "=" | "<>" | "<" | ">" | "<=" | ">=" if numbers || left == right => Type::Boolean,
                operator => return Err(format!("{left} {operator} {right}")),
            }
        }
        Expr::Call(function, arguments) => call(function, arguments, scope).map_err(|why| format!("{function}: {why}"))?,
    })
}

fn call(function: &str, arguments: &[Expr], scope: &Scope) -> Result<Type, String> {
    if let ("COUNT", [Expr::Star]) = (function, arguments) {
        return Ok(Type::Bigint);
    }
    if let [list, Expr::Lambda(parameter, body)] = arguments {
        let Type::Array(of) = type_of(list, scope)? else { return Err("the first argument is no array".into()) };
        let mut inner = scope.clone();
        inner.insert(parameter.clone(), (*of).clone());
        return match (function, type_of(body, &inner)?) {
            ("FILTER", Type::Boolean) => Ok(Type::Array(of)),
            ("TRANSFORM", result) => Ok(Type::array(result)),
            (_, result) => Err(format!("does not take a lambda to {result}")),
        };
    }
    let types: Vec<Type> = arguments.iter().map(|argument| type_of(argument, scope)).collect::<Result<_, _>>()?;
    Ok(match (function, &types[..]) {
        ("LCASE" | "TRIM", [Type::String]) | ("FROM_BYTES", [Type::Bytes, Type::String]) => Type::String,
        ("ARRAY_LENGTH", [Type::Array(_)]) => Type::Integer,
        ("ARRAY_CONTAINS", [Type::Array(of), one]) if **of == *one => Type::Boolean,
        ("UNIX_TIMESTAMP", []) => Type::Bigint,
        ("SUM", [number]) if number.is_number() => number.clone(),
        ("MAX" | "MIN", [ordered]) if ordered.is_number() || *ordered == Type::Timestamp => ordered.clone(),
        ("LATEST_BY_OFFSET", [of]) => of.clone(),
        ("COLLECT_LIST", [of]) => Type::array(of.clone()),
        ("HISTOGRAM", [Type::String]) => Type::Map(Box::new(Type::String), Box::new(Type::Bigint)),
        (_, types) => {
            let types: Vec<_> = types.iter().map(ToString::to_string).collect();
            return Err(format!("there is none for ({})", types.join(", ")));
        }
    })
}
