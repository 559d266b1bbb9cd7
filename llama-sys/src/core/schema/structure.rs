//! Objects and arrays.

use serde_json::{Map, Value, json};

use super::{Place, Rewriter, Rewritten, SchemaError, count};

/// Most items that are counted: llama.cpp's limit on repetitions.
const MAX_COUNTED: u64 = 2000;

impl Rewriter<'_> {
    pub(super) fn object(&mut self, entries: &Map<String, Value>, at: &Place) -> Rewritten {
        let required = names(entries, at)?;
        let additional = entries.get("additionalProperties");
        let mut properties = Map::new();
        match entries.get("properties") {
            None => {}
            Some(Value::Object(known)) => {
                let at = at.below("properties");
                for (name, schema) in known {
                    if schema == &Value::Bool(false) && !required.contains(name) {
                        continue;
                    }
                    properties.insert(name.clone(), self.node(schema, &at.below(name))?);
                }
            }
            Some(_) => return at.refuse("`properties` is an object"),
        }
        // What is required without a schema of its own has that of the other properties.
        for name in &required {
            if !properties.contains_key(name) {
                let free = Value::Bool(true);
                let at = at.below("required").below(name);
                let schema = self.node(additional.unwrap_or(&free), &at)?;
                properties.insert(name.clone(), schema);
            }
        }
        let told = entries.contains_key("properties") || !required.is_empty();
        let additional = match additional {
            None if told => json!(false),
            None => json!(true),
            Some(Value::Bool(allowed)) => json!(allowed),
            Some(schema) => self.node(schema, &at.below("additionalProperties"))?,
        };
        let additional = closed_where_names_are_odd(additional, &properties);
        let fixed = (additional == json!(false)).then_some(properties.len());
        check_counts(entries, required.len(), fixed, at)?;
        let mut written = Map::from_iter([
            ("type".to_owned(), json!("object")),
            ("additionalProperties".to_owned(), additional),
        ]);
        // The converter takes an object with `properties`, if only empty ones, as a closed one.
        if !properties.is_empty() {
            written.insert("properties".into(), Value::Object(properties));
            written.insert("required".into(), json!(required));
        }
        Ok(Value::Object(written))
    }

    pub(super) fn array(&mut self, entries: &Map<String, Value>, at: &Place) -> Rewritten {
        let least = count(entries, "minItems", at)?.unwrap_or(0);
        let most = count(entries, "maxItems", at)?;
        if most.is_some_and(|most| most < least) {
            return at.refuse("nothing satisfies it: `maxItems` is below `minItems`");
        }
        if least > MAX_COUNTED || most.is_some_and(|most| most > MAX_COUNTED) {
            return at.refuse(format!("counts beyond {MAX_COUNTED} cannot be enforced"));
        }
        let unique = entries.get("uniqueItems") == Some(&Value::Bool(true));
        if unique && most.is_none_or(|most| most > 1) {
            return at.cannot_keep("uniqueItems");
        }
        if let Some(first) = first_items(entries) {
            return self.tuple(first, (least, most), at);
        }
        let mut written = Map::from_iter([("type".to_owned(), json!("array"))]);
        let mut most = most;
        match entries.get("items") {
            Some(Value::Bool(false)) if least > 0 => return at.refuse("nothing satisfies it"),
            Some(Value::Bool(false)) => most = Some(0),
            Some(Value::Array(_)) | None => {}
            Some(schema) => {
                let schema = self.node(schema, &at.below("items"))?;
                written.insert("items".into(), schema);
            }
        }
        if least > 0 {
            written.insert("minItems".into(), json!(least));
        }
        if let Some(most) = most {
            written.insert("maxItems".into(), json!(most));
        }
        Ok(Value::Object(written))
    }

    /// Items in their places, and none behind them.
    fn tuple(
        &mut self,
        first: &[Value],
        (least, most): (u64, Option<u64>),
        at: &Place,
    ) -> Rewritten {
        let at = at.below("prefixItems");
        if least > first.len() as u64 {
            return at.refuse("`minItems` beyond them cannot be enforced");
        }
        let most = most.and_then(|most| usize::try_from(most).ok());
        let mut written = Vec::new();
        for (i, schema) in first.iter().take(most.unwrap_or(usize::MAX)).enumerate() {
            written.push(self.node(schema, &at.below(&i.to_string()))?);
        }
        if written.is_empty() {
            return Ok(json!({ "type": "array", "maxItems": 0 }));
        }
        Ok(json!({ "type": "array", "prefixItems": written }))
    }

    /// Counts a schema that is looked at without being written.
    pub(super) fn count_node(&mut self, at: &Place) -> Result<(), SchemaError> {
        self.nodes += 1;
        match self.nodes > super::MAX_NODES || at.depth > super::MAX_DEPTH {
            true => at.refuse("the schema is too large or too deep"),
            false => Ok(()),
        }
    }
}

fn names(entries: &Map<String, Value>, at: &Place) -> Result<Vec<String>, SchemaError> {
    let at = at.below("required");
    let Some(required) = entries.get("required") else {
        return Ok(Vec::new());
    };
    let names = required.as_array().and_then(|list| {
        list.iter()
            .map(|name| name.as_str().map(str::to_owned))
            .collect::<Option<Vec<String>>>()
    });
    match names {
        Some(names) => Ok(names),
        None => at.refuse("a list of names is wanted"),
    }
}

fn first_items(entries: &Map<String, Value>) -> Option<&[Value]> {
    let first = match (entries.get("prefixItems"), entries.get("items")) {
        (Some(Value::Array(first)), _) => first,
        // Until 2019 the first items were told so.
        (_, Some(Value::Array(first))) => first,
        _ => return None,
    };
    (!first.is_empty()).then_some(first)
}

/// The converter writes the letters of known names into character classes as they are. Names
/// with letters that mean something there close the object, which it may be.
fn closed_where_names_are_odd(additional: Value, properties: &Map<String, Value>) -> Value {
    let odd = |name: &String| {
        name.is_empty()
            || name
                .chars()
                .any(|c| c.is_control() || matches!(c, '"' | '\\' | '[' | ']' | '^' | '-'))
    };
    match properties.keys().any(odd) {
        true => json!(false),
        false => additional,
    }
}

fn check_counts(
    entries: &Map<String, Value>,
    required: usize,
    fixed: Option<usize>,
    at: &Place,
) -> Result<(), SchemaError> {
    let least = count(entries, "minProperties", at)?.unwrap_or(0);
    if least > required as u64 {
        return at.cannot_keep("minProperties");
    }
    match (count(entries, "maxProperties", at)?, fixed) {
        (Some(most), Some(properties)) if properties as u64 <= most => Ok(()),
        (Some(_), _) => at.cannot_keep("maxProperties"),
        (None, _) => Ok(()),
    }
}
