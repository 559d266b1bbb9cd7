//! What is rewritten to what, and what is refused where.

use super::*;

fn refusal(schema: &Value) -> String {
    match rewrite(schema) {
        Ok(written) => panic!("{schema} became {written}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn keywords_that_no_grammar_keeps_are_refused_with_their_place() {
    for (keyword, schema) in [
        ("not", json!({"not": {"type": "null"}})),
        ("if", json!({"type": "object", "if": {}, "then": {}})),
        (
            "patternProperties",
            json!({"patternProperties": {"^a": {}}}),
        ),
        (
            "propertyNames",
            json!({"type": "object", "propertyNames": {}}),
        ),
        (
            "dependentRequired",
            json!({"dependentRequired": {"a": ["b"]}}),
        ),
        ("contains", json!({"type": "array", "contains": {}})),
        ("uniqueItems", json!({"type": "array", "uniqueItems": true})),
        ("multipleOf", json!({"type": "integer", "multipleOf": 5})),
        (
            "minProperties",
            json!({"type": "object", "minProperties": 1}),
        ),
        (
            "maxProperties",
            json!({"type": "object", "maxProperties": 1}),
        ),
    ] {
        let nested = json!({"type": "object", "properties": {"a": {"anyOf": [{}, schema]}}});
        let what = refusal(&nested);
        assert!(what.starts_with("#/properties/a/anyOf/1"), "{what}");
        assert!(what.contains(keyword), "{what}");
    }
}

#[test]
fn what_stands_beside_a_deciding_keyword_is_refused() {
    let defs = json!({"a": {"type": "string"}});
    for schema in [
        json!({"$ref": "#/$defs/a", "maxLength": 3, "$defs": defs}),
        json!({"anyOf": [{"required": ["a"]}], "properties": {"a": {}}}),
        json!({"anyOf": [{}], "oneOf": [{}]}),
        json!({"enum": ["a"], "maxLength": 3}),
        json!({"type": "string", "pattern": "^a$", "maxLength": 3}),
        json!({"type": "string", "format": "date", "minLength": 3}),
        json!({"allOf": [{"type": "string"}, {"type": "null"}]}),
        json!({"allOf": [{"properties": {"a": {}}, "additionalProperties": false},
                         {"properties": {"b": {}}}]}),
        json!({"allOf": [{"prefixItems": [{}]}, {"items": {"type": "null"}}]}),
    ] {
        refusal(&schema);
    }
    // Notes may stand anywhere.
    let noted = json!({"$ref": "#/$defs/a", "description": "x", "default": "y", "$defs": defs});
    assert_eq!(rewrite(&noted).unwrap()["$ref"], "#/$defs/d0");
}

#[test]
fn what_nothing_satisfies_is_refused() {
    for schema in [
        json!(false),
        json!({"enum": []}),
        json!({"type": "string", "enum": [1, null]}),
        json!({"const": 1, "type": "string"}),
        json!({"type": "integer", "minimum": 5, "maximum": 4}),
        json!({"type": "integer", "exclusiveMinimum": 4, "exclusiveMaximum": 5}),
        json!({"type": "number", "minimum": 5, "exclusiveMaximum": 5}),
        json!({"type": "string", "minLength": 3, "maxLength": 2}),
        json!({"type": "array", "minItems": 3, "maxItems": 2}),
        json!({"type": "object", "required": ["a"], "additionalProperties": false}),
        json!({"type": "thing"}),
        json!({"type": []}),
        json!({"$ref": "#/$defs/none"}),
        json!({"anyOf": []}),
    ] {
        refusal(&schema);
    }
}

#[test]
fn bounds_are_on_both_sides_and_the_tighter_ones() {
    let range = |schema: Value| {
        let written = rewrite(&schema).unwrap();
        let side = |k: &str| written[k].as_i64().unwrap();
        (side("minimum"), side("maximum"))
    };
    let bounds = json!({"type": "integer", "minimum": 1.5, "exclusiveMaximum": 9});
    assert_eq!(range(bounds), (2, 8));
    let both = json!({"type": "integer", "minimum": 1, "exclusiveMinimum": 4, "maximum": 6.5});
    assert_eq!(range(both), (5, 6));
    assert_eq!(range(json!({"minimum": -3})).0, -3);
    let huge = json!({"type": "integer", "minimum": 1e30});
    assert!(refusal(&huge).contains("1e15"));
}

#[test]
fn what_can_be_said_another_way_is() {
    let required = json!({"type": "object", "required": ["a"]});
    assert_eq!(rewrite(&required).unwrap()["properties"], json!({"a": {}}));
    let merged = json!({
        "$defs": {"base": {"type": "object", "properties": {"a": {"type": "null"}}, "required": ["a"]}},
        "allOf": [{"$ref": "#/$defs/base"}],
        "properties": {"b": true},
    });
    let written = rewrite(&merged).unwrap();
    assert_eq!(written["required"], json!(["a"]));
    assert_eq!(written["properties"].as_object().unwrap().len(), 2);
    let tuple = json!({"prefixItems": [{}, {}], "items": {"type": "null"}, "maxItems": 1});
    assert_eq!(
        rewrite(&tuple).unwrap(),
        json!({"type": "array", "prefixItems": [{}]})
    );
    let nullable = json!({"type": ["string", "null"], "enum": ["a", null, 3]});
    assert_eq!(rewrite(&nullable).unwrap(), json!({"enum": ["a", null]}));
    let typed = json!({"type": "object", "anyOf": [{"properties": {"a": {}}}]});
    assert_eq!(rewrite(&typed).unwrap()["anyOf"][0]["type"], "object");
}

#[test]
fn references_are_renamed_so_that_their_rules_differ() {
    let schema = json!({
        "$defs": {"a_b": {"type": "null"}, "a-b": {"type": "boolean"}, "x/y": {"$ref": "#"}},
        "prefixItems": [{"$ref": "#/$defs/a_b"}, {"$ref": "#/$defs/a-b"}, {"$ref": "#/$defs/x~1y"}],
    });
    let written = rewrite(&schema).unwrap();
    assert_eq!(written["$defs"]["d0"], json!({"type": "null"}));
    assert_eq!(written["$defs"]["d1"], json!({"type": "boolean"}));
    assert_eq!(written["$defs"]["d2"], json!({"$ref": "#/$defs/d3"}));
    assert_eq!(
        written["$defs"]["d3"]["prefixItems"][2]["$ref"],
        "#/$defs/d2"
    );
}

#[test]
fn schemas_that_grow_when_written_out_are_refused() {
    let mut defs = Map::new();
    for i in 0..20 {
        let next = format!("#/$defs/n{}", i + 1);
        let both = json!({"allOf": [{"$ref": next}, {"title": "x", "properties": {
            format!("p{i}"): {"allOf": [{"$ref": next}, {"minProperties": 0}]}}}]});
        defs.insert(format!("n{i}"), both);
    }
    defs.insert("n20".into(), json!({"type": "object"}));
    let schema = json!({"$ref": "#/$defs/n0", "$defs": defs});
    assert!(refusal(&schema).contains("too large"));
    let circle = json!({"$defs": {"a": {"allOf": [{"$ref": "#/$defs/a"}, {"minItems": 0}]}},
                        "$ref": "#/$defs/a"});
    refusal(&circle);
}

#[test]
fn patterns_are_written_out_or_refused() {
    let of = |pattern: &str| pattern::canonical(pattern);
    assert_eq!(of(r"^\d{3}-[a-f]+$").unwrap(), r"^([0-9]{3}[\-][a-f]+)$");
    assert_eq!(of(r"^a\.*?$").unwrap(), "^([a][.]*)$");
    assert_eq!(of("^(?:é|b)?$").unwrap(), "^(([é]|[b])?)$");
    assert!(of("x").unwrap().ends_with(r#"[x][^"\\\x7F\x00-\x1F]*)$"#));
    for bad in [
        "^a\"$",
        r"^\\$",
        r"^\n$",
        r"^\bx$",
        "^(?=a)$",
        "^(a$",
        "^[a$",
        "^[ -~]$",
        "^a**$",
        "^*$",
        "a^b",
        "(^a)",
        "^[z-a]$",
        r"^[\w-z]$",
        "^a{2000}$",
        "^a{3,2}$",
        "^[]$",
        "^(a))$",
        r"^\1$",
    ] {
        assert!(of(bad).is_err(), "{bad}: {:?}", of(bad));
    }
}
