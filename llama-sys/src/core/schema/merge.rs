//! `allOf`: several schemas as one, where their keywords do not get in each other's way.

use serde_json::{Map, Value};

use super::{KEPT, MAX_DEPTH, Place, Rewriter, SchemaError, UNKEPT};

impl Rewriter<'_> {
    /// The schema that says what `entries` and all schemas of its `allOf` say.
    pub(super) fn merged(
        &mut self,
        entries: &Map<String, Value>,
        at: &Place,
    ) -> Result<Value, SchemaError> {
        let mut parts = Vec::new();
        self.parts(entries, at, &mut parts)?;
        // A single reference stays one: what refers to itself has no end written out.
        if let [only] = &parts[..] {
            return Ok(Value::Object(only.clone()));
        }
        let mut written_out = Vec::new();
        for part in parts {
            written_out.push(self.dereferenced(part, at)?);
        }
        apart(&written_out, at)?;
        let mut merged = Map::new();
        for part in written_out {
            for (keyword, value) in part {
                merge(&mut merged, keyword, value, at)?;
            }
        }
        Ok(Value::Object(merged))
    }

    /// The schemas of an `allOf` and what stands beside it, restricting keywords only.
    fn parts(
        &mut self,
        entries: &Map<String, Value>,
        at: &Place,
        parts: &mut Vec<Map<String, Value>>,
    ) -> Result<(), SchemaError> {
        self.count_node(at)?;
        let own: Map<String, Value> = entries
            .iter()
            .filter(|(key, _)| *key != "allOf" && restricts(key))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        if !own.is_empty() {
            parts.push(own);
        }
        let Some(list) = entries.get("allOf") else {
            return Ok(());
        };
        let at = at.below("allOf");
        let Some(list) = list.as_array().filter(|list| !list.is_empty()) else {
            return at.refuse("a list of schemas is wanted");
        };
        for (i, schema) in list.iter().enumerate() {
            let at = at.below(&i.to_string());
            match schema {
                Value::Object(entries) => self.parts(entries, &at, parts)?,
                Value::Bool(true) => {}
                Value::Bool(false) => return at.refuse("nothing satisfies `false`"),
                _ => return at.refuse("a schema is an object"),
            }
        }
        Ok(())
    }

    /// The target of a part that is a reference, and its own `allOf` within it.
    fn dereferenced(
        &mut self,
        mut part: Map<String, Value>,
        at: &Place,
    ) -> Result<Map<String, Value>, SchemaError> {
        for _ in 0..MAX_DEPTH {
            self.count_node(at)?;
            let Some(Value::String(reference)) = part.get("$ref") else {
                return Ok(part);
            };
            super::alone(&part, &["$ref"], at)?;
            let target = self.resolve(reference, at)?;
            let Value::Object(target) = target else {
                return at.refuse("a reference to a schema that is no object");
            };
            part = if target.contains_key("allOf") {
                match self.merged(target, &at.below("$ref"))? {
                    Value::Object(merged) => merged,
                    _ => Map::new(),
                }
            } else {
                let kept = target.iter().filter(|(key, _)| restricts(key));
                kept.map(|(key, value)| (key.clone(), value.clone()))
                    .collect()
            };
        }
        at.refuse("references that go round in a circle")
    }
}

/// Refuses parts whose keywords speak of what the other keywords *beside them* leave over: put
/// together they would say something else.
fn apart(parts: &[Map<String, Value>], at: &Place) -> Result<(), SchemaError> {
    let families: [(&[&str], &[&str]); 2] = [
        (
            &[
                "properties",
                "additionalProperties",
                "unevaluatedProperties",
            ],
            &["additionalProperties", "unevaluatedProperties"],
        ),
        (
            &["items", "prefixItems", "additionalItems"],
            &["prefixItems", "additionalItems"],
        ),
    ];
    for (family, sensitive) in families {
        let of_family = parts
            .iter()
            .filter(|part| family.iter().any(|k| part.contains_key(*k)));
        if of_family.count() < 2 {
            continue;
        }
        let harmful = |keyword: &&&str| {
            let open = Value::Bool(true);
            parts
                .iter()
                .any(|part| part.get(**keyword).is_some_and(|value| *value != open))
        };
        if let Some(keyword) = sensitive.iter().find(harmful) {
            return at.refuse(format!("`{keyword}` within `allOf` cannot be enforced"));
        }
    }
    Ok(())
}

fn restricts(keyword: &str) -> bool {
    KEPT.contains(&keyword) || UNKEPT.contains(&keyword) || keyword == "format"
}

fn merge(
    merged: &mut Map<String, Value>,
    keyword: String,
    value: Value,
    at: &Place,
) -> Result<(), SchemaError> {
    let conflict = || at.refuse(format!("several `{keyword}` in `allOf` cannot be enforced"));
    let Some(known) = merged.get_mut(&keyword) else {
        merged.insert(keyword, value);
        return Ok(());
    };
    match (keyword.as_str(), known, value) {
        (_, known, value) if *known == value => Ok(()),
        ("properties", Value::Object(known), Value::Object(more)) => {
            for (name, schema) in more {
                match known.get(&name) {
                    Some(other) if *other != schema => return conflict(),
                    _ => known.insert(name, schema),
                };
            }
            Ok(())
        }
        ("required", Value::Array(known), Value::Array(more)) => {
            for name in more {
                if !known.contains(&name) {
                    known.push(name);
                }
            }
            Ok(())
        }
        ("type", Value::String(known), Value::Array(types))
            if types.contains(&Value::from(known.as_str())) =>
        {
            Ok(())
        }
        ("type", known @ Value::Array(_), Value::String(ty))
            if known
                .as_array()
                .is_some_and(|k| k.contains(&Value::from(ty.as_str()))) =>
        {
            *known = Value::String(ty);
            Ok(())
        }
        _ => conflict(),
    }
}
