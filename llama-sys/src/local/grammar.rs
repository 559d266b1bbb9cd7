//! What an answer must look like, as GBNF, within bounds: the grammar is the client's, and
//! llama.cpp's readers recurse and multiply.

use std::sync::Arc;

use crate::core::schema::{polish::polish, rewrite};
use crate::engine::{Grammar, JobError};
use crate::ffi::model::Model;
use crate::ffi::sampler::Sampler;
use crate::ffi::schema;

/// Longest schema or grammar: far beyond what people write, well below what hurts.
const MAX_SOURCE_BYTES: usize = 256 * 1024;

/// Longest grammar that a schema may become.
const MAX_GBNF_BYTES: usize = 2 * 1024 * 1024;

/// Deepest nesting: the readers recurse, and the stack is theirs.
const MAX_NESTING: usize = 64;

/// The grammar of llama.cpp's own `grammars/json.gbnf`, an object at the top, white space
/// bounded so that a model cannot go on with it for ever, exponents so that numbers are finite,
/// and escapes to those that are text.
const JSON_OBJECT: &str = r#"root ::= object
value ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? "}" ws
array ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\/bfnrt] | "u" escape) )* "\"" ws
escape ::= [0-9a-cA-CefEF] [0-9a-fA-F]{3} | [dD] [0-7] [0-9a-fA-F]{2}
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [0-9]?)? ws
ws ::= | " " | "\n" [ \t]{0,20}
"#;

/// The sampler that enforces a grammar; `None` for none.
pub(super) fn sampler(model: &Arc<Model>, grammar: &Grammar) -> Result<Option<Sampler>, JobError> {
    let gbnf = match grammar {
        Grammar::None => return Ok(None),
        Grammar::JsonObject => JSON_OBJECT.to_owned(),
        Grammar::JsonSchema(schema) => from_schema(schema)?,
        Grammar::Gbnf(text) => {
            check_source(text)?;
            text.clone()
        }
    };
    let unreadable = || JobError::Grammar("llama.cpp cannot read it".into());
    Sampler::grammar(model, &gbnf)
        .map(Some)
        .ok_or_else(unreadable)
}

fn from_schema(text: &str) -> Result<String, JobError> {
    check_source(text)?;
    let refused = |what: &str| JobError::Grammar(what.to_owned());
    let schema: serde_json::Value = serde_json::from_str(text)
        .map_err(|e| JobError::Grammar(format!("the schema is not JSON: {e}")))?;
    let schema = rewrite(&schema).map_err(|e| JobError::Grammar(e.to_string()))?;
    let gbnf = schema::to_gbnf(&schema.to_string())
        .ok_or_else(|| refused("the schema has parts that cannot be turned into a grammar"))?;
    let gbnf = polish(&gbnf);
    if gbnf.len() > MAX_GBNF_BYTES {
        return Err(refused("the schema becomes too large a grammar"));
    }
    Ok(gbnf)
}

/// Refuses what is empty, too long or too deeply nested. Brackets within strings count as nesting:
/// a bound need not be exact.
fn check_source(text: &str) -> Result<(), JobError> {
    if text.len() > MAX_SOURCE_BYTES {
        let message = format!("it is longer than {MAX_SOURCE_BYTES} bytes");
        return Err(JobError::Grammar(message));
    }
    if text.trim().is_empty() {
        return Err(JobError::Grammar("it is empty".into()));
    }
    let mut depth = 0usize;
    for byte in text.bytes() {
        match byte {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_NESTING {
            let message = format!("it is nested deeper than {MAX_NESTING}");
            return Err(JobError::Grammar(message));
        }
    }
    Ok(())
}
