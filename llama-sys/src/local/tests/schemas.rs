//! Schemas as grammars: what comes out obeys, whatever the schema and however wild the sampling.
//!
//! The judge is written here, for the keywords that are generated here. The clients' tests hold
//! answers against another implementation.

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Map, Value, json};

use super::*;
use crate::core::select::Candidate;
use crate::local::grammar;

/// Schemas that are tried; each is sampled once for each of its seeds.
const CASES: u32 = 200;
/// Answers for each schema.
const SEEDS: u64 = 2;
/// Longer answers are not waited for: recursive schemas have no end under random choice.
const TOKENS: u32 = 160;

/// Whether a value obeys a schema. `root` is what references start from.
fn obeys(value: &Value, schema: &Value, root: &Value) -> bool {
    let Value::Object(schema) = schema else {
        return schema == &Value::Bool(true);
    };
    schema.iter().all(|(keyword, says)| match keyword.as_str() {
        "$ref" => obeys(
            value,
            root.pointer(&says.as_str().unwrap()[1..]).unwrap(),
            root,
        ),
        "anyOf" => list(says).iter().any(|s| obeys(value, s, root)),
        "allOf" => list(says).iter().all(|s| obeys(value, s, root)),
        "const" => value == says,
        "enum" => list(says).contains(value),
        "type" => match says {
            Value::Array(types) => types.iter().any(|t| is(value, t)),
            one => is(value, one),
        },
        _ => match value {
            Value::Object(entries) => object_obeys(entries, keyword, schema, root),
            Value::Array(items) => array_obeys(items, keyword, schema, root),
            _ => scalar_obeys(value, keyword, says),
        },
    })
}

fn list(value: &Value) -> &[Value] {
    value.as_array().unwrap()
}

fn is(value: &Value, ty: &Value) -> bool {
    match ty.as_str().unwrap() {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "number" => value.is_number(),
        "integer" => value.as_f64().is_some_and(|n| n.fract() == 0.0),
        other => panic!("{other}"),
    }
}

fn object_obeys(
    entries: &Map<String, Value>,
    keyword: &str,
    schema: &Map<String, Value>,
    root: &Value,
) -> bool {
    let known = |name: &str| schema.get("properties").and_then(|p| p.get(name));
    match keyword {
        "properties" => entries
            .iter()
            .all(|(name, v)| known(name).is_none_or(|s| obeys(v, s, root))),
        "required" => list(&schema[keyword])
            .iter()
            .all(|name| entries.contains_key(name.as_str().unwrap())),
        "additionalProperties" => entries
            .iter()
            .all(|(name, v)| known(name).is_some() || obeys(v, &schema[keyword], root)),
        _ => true,
    }
}

fn array_obeys(items: &[Value], keyword: &str, schema: &Map<String, Value>, root: &Value) -> bool {
    let first = schema.get("prefixItems").map_or(&[][..], list);
    let size = |says: &Value| usize::try_from(says.as_u64().unwrap()).unwrap();
    match keyword {
        "prefixItems" => items.iter().zip(first).all(|(v, s)| obeys(v, s, root)),
        "items" => items
            .iter()
            .skip(first.len())
            .all(|v| obeys(v, &schema[keyword], root)),
        "minItems" => items.len() >= size(&schema[keyword]),
        "maxItems" => items.len() <= size(&schema[keyword]),
        _ => true,
    }
}

fn scalar_obeys(value: &Value, keyword: &str, says: &Value) -> bool {
    let length = value.as_str().map(|s| s.chars().count() as f64);
    let number = value.as_f64();
    let says = says.as_f64();
    let holds = |have: Option<f64>, test: fn(f64, f64) -> bool| match (have, says) {
        (Some(have), Some(says)) => test(have, says),
        _ => true,
    };
    match keyword {
        "minLength" => holds(length, |a, b| a >= b),
        "maxLength" => holds(length, |a, b| a <= b),
        "minimum" => holds(number, |a, b| a >= b),
        "maximum" => holds(number, |a, b| a <= b),
        "exclusiveMinimum" => holds(number, |a, b| a > b),
        "exclusiveMaximum" => holds(number, |a, b| a < b),
        _ => true,
    }
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        "[a-c]{1,3}",
        Just("größe".into()),
        Just("x-y".into()),
        Just("q\"\\".into())
    ]
}

fn bounded_number() -> impl Strategy<Value = Value> {
    let sides = (
        prop::option::of(-300i64..300),
        prop::option::of(1i64..400),
        0u8..4,
    );
    (sides, any::<bool>()).prop_map(|((low, width, open), whole)| {
        let mut schema = json!({"type": if whole { "integer" } else { "number" }});
        let key = |bit: u8, closed: &str, open_name: &str| {
            (if open & bit == 0 { closed } else { open_name }).to_owned()
        };
        if let Some(low) = low {
            schema[key(1, "minimum", "exclusiveMinimum")] = json!(low);
        }
        if let Some(width) = width {
            schema[key(2, "maximum", "exclusiveMaximum")] = json!(low.unwrap_or(0) + width + 2);
        }
        schema
    })
}

fn counted(ty: &'static str, keys: [&'static str; 2]) -> impl Strategy<Value = Value> {
    (prop::option::of(0u64..4), prop::option::of(0u64..5)).prop_map(move |(least, more)| {
        let mut schema = json!({ "type": ty });
        if let Some(least) = least {
            schema[keys[0]] = json!(least);
        }
        if let Some(more) = more {
            schema[keys[1]] = json!(least.unwrap_or(0) + more);
        }
        schema
    })
}

fn leaf() -> impl Strategy<Value = Value> {
    let constant = prop_oneof![
        Just(json!(null)),
        Just(json!("a \"quoted\" \\ word\n")),
        Just(json!({"k": [1, -2.5, true]})),
        (-5i64..5).prop_map(Value::from),
        "[a-zé]{0,4}".prop_map(Value::from),
    ];
    prop_oneof![
        3 => bounded_number(),
        3 => counted("string", ["minLength", "maxLength"]),
        1 => prop::sample::select(vec!["boolean", "null", "integer", "number"]).prop_map(|t| json!({"type": t})),
        1 => Just(json!({"type": ["integer", "null"], "minimum": 3})),
        1 => constant.clone().prop_map(|c| json!({ "const": c })),
        1 => prop::collection::vec(constant, 1..4).prop_map(|c| json!({ "enum": c })),
        1 => Just(json!({"$ref": "#/$defs/leaf"})),
        1 => Just(json!({"$ref": "#/$defs/tree_1"})),
        1 => Just(json!({"$ref": "#/$defs/tree-1"})),
    ]
}

fn object(inner: impl Strategy<Value = Value> + Clone) -> impl Strategy<Value = Value> {
    let properties = prop::collection::btree_map(name(), (inner.clone(), any::<bool>()), 0..4);
    let additional = prop_oneof![
        Just(None),
        any::<bool>().prop_map(|open| Some(json!(open))),
        inner.prop_map(Some),
    ];
    (properties, additional).prop_map(|(properties, additional)| {
        let required: Vec<&String> = properties
            .iter()
            .filter(|(_, p)| p.1)
            .map(|(n, _)| n)
            .collect();
        let mut schema = json!({"type": "object", "required": required});
        let known = properties.iter().map(|(n, p)| (n.clone(), p.0.clone()));
        schema["properties"] = Value::Object(known.collect());
        if let Some(additional) = additional {
            schema["additionalProperties"] = additional;
        }
        schema
    })
}

fn schemas() -> impl Strategy<Value = Value> {
    let nested = leaf().prop_recursive(3, 16, 4, |inner| {
        let array = (counted("array", ["minItems", "maxItems"]), inner.clone()).prop_map(
            |(mut array, items)| {
                array["items"] = items;
                array
            },
        );
        let several = prop::collection::vec(inner.clone(), 1..4);
        prop_oneof![
            3 => object(inner.clone()),
            2 => array,
            1 => several.clone().prop_map(|s| json!({ "anyOf": s })),
            1 => several.prop_map(|s| json!({"type": "array", "prefixItems": s})),
            1 => inner.prop_map(|s| json!({ "allOf": [s] })),
        ]
    });
    (object(nested), leaf()).prop_map(|(mut root, leaf)| {
        let leaf = match leaf.get("$ref") {
            Some(_) => json!({"type": "boolean"}),
            None => leaf,
        };
        root["$defs"] = json!({
            "leaf": leaf,
            // Names that are one to llama.cpp's converter.
            "tree_1": {"type": "array", "items": {"$ref": "#/$defs/tree_1"}, "maxItems": 2},
            "tree-1": {"type": "object", "properties": {"next": {"$ref": "#/$defs/tree-1"}}},
        });
        root
    })
}

fn wild(schema: &Value, seed: u64) -> Job {
    Job {
        grammar: Grammar::JsonSchema(schema.to_string()),
        sampling: Sampling {
            temperature: 1.5,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            ..Sampling::default()
        },
        seed,
        ..job("{", TOKENS)
    }
}

/// Samples under a schema. True if the answer came to its end.
async fn sampled(engine: &LocalEngine, schema: &Value, seed: u64) -> bool {
    let answer = ask(engine, wild(schema, seed)).await;
    assert_eq!(answer.failed, None, "{schema}");
    if answer.finish.unwrap().0 == FinishReason::Length {
        return false;
    }
    let parsed = serde_json::from_str::<Value>(&answer.text);
    let value = parsed.unwrap_or_else(|e| panic!("{e}: {:?} under {schema}", answer.text));
    assert!(obeys(&value, schema, schema), "{value} under {schema}");
    true
}

#[test]
fn what_is_sampled_obeys_its_schema() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let engine = load(&moe());
    let config = Config {
        cases: CASES,
        // A failure prints its schema; searching for a smaller one would take minutes.
        max_shrink_iters: 0,
        failure_persistence: None,
        ..Config::default()
    };
    let random = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let ended = std::cell::Cell::new(0);
    let mut runner = TestRunner::new_with_rng(config, random);
    let outcome = runner.run(&schemas(), |schema| {
        for seed in 0..SEEDS {
            let done = runtime.block_on(sampled(&engine, &schema, seed));
            ended.set(ended.get() + u32::from(done));
        }
        Ok(())
    });
    outcome.unwrap();
    assert!(ended.get() >= CASES / 2, "{} came to an end", ended.get());
}

/// Whether the grammar of a schema takes a text from begin to end.
fn takes(engine: &LocalEngine, schema: &Value, text: &str) -> bool {
    let model = &engine.model;
    let grammar = Grammar::JsonSchema(schema.to_string());
    let made = grammar::sampler(model, &grammar);
    let mut sampler = made.unwrap_or_else(|e| panic!("{e}: {schema}")).unwrap();
    let end = (0..model.vocab_size()).find(|t| model.is_end(*t)).unwrap();
    let mut tokens = model.tokenize(text, false, false).unwrap();
    tokens.push(end);
    tokens.into_iter().all(|token| {
        let mut candidate = vec![Candidate::new(token as usize, 1.0)];
        sampler.apply(&mut candidate, false);
        candidate[0].logit > f32::NEG_INFINITY && sampler.accept(token)
    })
}

/// Each line is something that llama.cpp's converter, left alone, gets wrong.
#[test]
fn what_the_converter_gets_wrong_is_mended() {
    let engine = load(&moe());
    let check = |schema: Value, good: &[&str], bad: &[&str]| {
        for text in good {
            assert!(takes(&engine, &schema, text), "{text} under {schema}");
        }
        for text in bad {
            assert!(!takes(&engine, &schema, text), "{text} under {schema}");
        }
    };
    let least = json!({"type": "integer", "minimum": 205});
    check(least, &["205", "999", "1000"], &["25", "200", "0"]);
    let most = json!({"type": "integer", "maximum": -5});
    check(most, &["-5", "-10"], &["-03", "-4", "5"]);
    let share = json!({"type": "number", "minimum": 0, "maximum": 1});
    check(
        share,
        &["0", "1", "0.5", "0.999999"],
        &["1.5", "-0.5", "2", "1e5"],
    );
    let open = json!({"type": "number", "exclusiveMinimum": 0, "maximum": 100});
    check(open, &["0.01", "100", "99.5"], &["0", "0.0", "100.1", "-1"]);
    let below = json!({"type": "number", "exclusiveMaximum": 0});
    check(below, &["-0.5", "-17"], &["0", "-0", "1"]);
    check(
        json!({"type": "string"}),
        &[r#""\u00e9""#],
        &[r#""\ud800""#, r#""\uDfff""#],
    );
    check(
        json!({"type": "number"}),
        &["1e10", "-2.5"],
        &["1e999", "1e0123"],
    );
    let others = json!({"properties": {"ab": {"type": "null"}}, "additionalProperties": {"type": "boolean"}});
    check(
        others,
        &[r#"{"ab":null,"c":true}"#, r#"{"abc":true}"#],
        &[r#"{"\":true}"#, r#"{"ab":true}"#],
    );
    let refs = json!({"$defs": {"a_b": {"type": "null"}, "a-b": {"type": "boolean"}},
        "prefixItems": [{"$ref": "#/$defs/a_b"}, {"$ref": "#/$defs/a-b"}]});
    check(refs, &["[null,true]"], &["[null,null]", "[null]"]);
    let both = json!({"allOf": [{"type": "string"}, {"maxLength": 2}]});
    check(both, &[r#""ab""#], &["{}", r#""abc""#]);
}

#[test]
fn patterns_are_kept_to_within_their_string() {
    let engine = load(&moe());
    for (pattern, good, bad) in [
        (r"^\d{2,3}$", &["12", "123"][..], &["1", "1234", "1a"][..]),
        (r"^a\.*$", &["a", "a..."], &["", "aa.", "a.a."]),
        ("^é+$", &["é", "éé"], &["", "e"]),
        ("b", &["b", "abc"], &["", "ac"]),
        ("^(ab|c)?-[^x]$", &["ab-y", "-1"], &["b-y", "-x"]),
        ("^a|b$", &["a", "ax", "xb"], &["xa", "c"]),
        ("^.$", &["x"], &["", "xy", "\\"]),
        (r"^[\w.-]+@[a-z]+$", &["a.b-c@de"], &["a@", "@b", "a b@c"]),
    ] {
        let schema = json!({"type": "string", "pattern": pattern});
        for text in good {
            assert!(
                takes(&engine, &schema, &format!("\"{text}\"")),
                "{text} under {pattern}"
            );
        }
        for text in bad {
            assert!(
                !takes(&engine, &schema, &format!("\"{text}\"")),
                "{text} under {pattern}"
            );
        }
    }
}

#[tokio::test]
async fn a_schema_that_cannot_be_kept_is_refused_with_its_place() {
    let engine = load(&fixture("tiny-draft-f16.gguf"));
    let schema =
        json!({"type": "object", "properties": {"tags": {"type": "array", "uniqueItems": true}}});
    let refused = engine.generate(wild(&schema, 0)).await.map(|_| ());
    let Err(JobError::Grammar(why)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(why, "#/properties/tags: `uniqueItems` cannot be enforced");
}
