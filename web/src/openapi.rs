//! `GET /openapi.json`: what there is to call. Handlers read requests leniently, field by field,
//! so the document is written by hand and a test holds it against the router's list of routes.

use std::sync::LazyLock;

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::{Map, Value, json};

mod boards;
mod schemas;

/// Built once: it never changes while the process lives.
static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| Bytes::from(document().to_string()));

/// The document.
pub(crate) async fn show() -> Response {
    let headers = [(header::CONTENT_TYPE, "application/json")];
    (headers, DOCUMENT.clone()).into_response()
}

/// One operation.
#[derive(Clone, Copy)]
struct Operation {
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    /// Schema of the body, if it has one.
    body: Option<&'static str>,
    /// Schema of the answer; `None`: not JSON.
    answer: Option<&'static str>,
    /// It can answer with server-sent events.
    streams: bool,
    /// A parameter of its query that must be there.
    query: Option<&'static str>,
    /// Parameters of its query that may be there.
    choices: &'static [&'static str],
}

const fn operation(
    method: &'static str,
    path: &'static str,
    summary: &'static str,
    body: Option<&'static str>,
    answer: Option<&'static str>,
) -> Operation {
    Operation {
        method,
        path,
        summary,
        body,
        answer,
        streams: false,
        query: None,
        choices: &[],
    }
}

const fn asking(parameter: &'static str, operation: Operation) -> Operation {
    Operation {
        query: Some(parameter),
        ..operation
    }
}

const fn choosing(choices: &'static [&'static str], operation: Operation) -> Operation {
    Operation {
        choices,
        ..operation
    }
}

const fn streaming(operation: Operation) -> Operation {
    Operation {
        streams: true,
        ..operation
    }
}

/// Every route of the server but the blackboard's.
const OPERATIONS: &[Operation] = &[
    operation(
        "get",
        "/v1/models",
        "Models that can be served now",
        None,
        Some("ModelList"),
    ),
    operation(
        "get",
        "/v1/models/{id}",
        "One of them; the id may hold slashes",
        None,
        Some("Model"),
    ),
    streaming(operation(
        "post",
        "/v1/chat/completions",
        "An answer to a conversation",
        Some("ChatRequest"),
        Some("ChatCompletion"),
    )),
    streaming(operation(
        "post",
        "/v1/completions",
        "A continuation of a text",
        Some("CompletionRequest"),
        Some("Completion"),
    )),
    streaming(operation(
        "post",
        "/v1/responses",
        "An answer by the stateless Responses API",
        Some("ResponseRequest"),
        Some("Response"),
    )),
    operation(
        "post",
        "/v1/embeddings",
        "Vectors of length 1",
        Some("EmbeddingRequest"),
        Some("EmbeddingList"),
    ),
    operation(
        "get",
        "/healthz",
        "The process is alive; needs no key",
        None,
        Some("Health"),
    ),
    operation(
        "get",
        "/readyz",
        "Requests can be served",
        None,
        Some("Health"),
    ),
    operation("get", "/metrics", "Figures for Prometheus", None, None),
    operation(
        "get",
        "/openapi.json",
        "This document",
        None,
        Some("Object"),
    ),
    operation(
        "get",
        "/api/status",
        "The node in one view",
        None,
        Some("Object"),
    ),
    operation(
        "get",
        "/api/models",
        "Models on disk",
        None,
        Some("Objects"),
    ),
    operation(
        "delete",
        "/api/models/{name}",
        "Remove a model",
        None,
        Some("Object"),
    ),
    streaming(operation(
        "post",
        "/api/pull",
        "Fetch a model; events of progress",
        Some("Named"),
        None,
    )),
    operation(
        "get",
        "/api/loaded",
        "Models with a worker",
        None,
        Some("Objects"),
    ),
    operation(
        "post",
        "/api/load",
        "Load a model now",
        Some("Named"),
        Some("Object"),
    ),
    operation(
        "post",
        "/api/unload",
        "Unload a model",
        Some("Named"),
        Some("Object"),
    ),
    operation(
        "get",
        "/api/peers",
        "The swarm as the node sees it",
        None,
        Some("Object"),
    ),
    operation(
        "post",
        "/api/swarm/reload",
        "Read the private swarm's files again and spread what is new",
        None,
        Some("Object"),
    ),
    asking(
        "model",
        operation(
            "get",
            "/api/plan",
            "Which peers would hold a model, how fast it would be, and why the others would not",
            None,
            Some("Object"),
        ),
    ),
    operation(
        "get",
        "/api/placement",
        "What the node takes on for the swarm, and why",
        None,
        Some("Object"),
    ),
    operation(
        "get",
        "/api/demand",
        "What the swarm asks for, estimated",
        None,
        Some("Demand"),
    ),
    operation(
        "post",
        "/api/bench",
        "Measure the devices",
        None,
        Some("Objects"),
    ),
    operation(
        "get",
        "/api/config",
        "The effective configuration as TOML",
        None,
        None,
    ),
];

fn operations() -> impl Iterator<Item = &'static Operation> {
    OPERATIONS.iter().chain(boards::OPERATIONS)
}

/// The whole document, OpenAPI 3.1.
fn document() -> Value {
    let mut paths = Map::new();
    for operation in operations() {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = operation.json();
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Shoal",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The OpenAI API and the management of one Shoal node.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{}, { "bearer": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": { "bearer": { "type": "http", "scheme": "bearer" } },
            "schemas": schemas::all(),
        },
    })
}

impl Operation {
    fn json(&self) -> Value {
        let mut operation = json!({
            "summary": self.summary,
            "responses": {
                "200": self.done(),
                "4XX": error("The request was refused"),
                "5XX": error("The node cannot answer now; see `Retry-After`"),
            },
        });
        if let Some(body) = self.body {
            operation["requestBody"] = json!({
                "required": true,
                "content": { "application/json": { "schema": reference(body) } },
            });
        }
        let mut parameters: Vec<Value> = self.parameters().collect();
        if self.generates() {
            parameters.push(privacy());
        }
        if !parameters.is_empty() {
            operation["parameters"] = parameters.into();
        }
        operation
    }

    /// Whether a model works for it, here or on a peer.
    fn generates(&self) -> bool {
        self.method == "post" && self.path.starts_with("/v1/")
    }

    fn done(&self) -> Value {
        let mut done = json!({ "description": "Done", "content": self.content() });
        if self.generates() {
            done["headers"] = json!({ "X-Shoal-Served-By": {
                "description": "The peer that answers, `local` for this node; absent where a \
                    stream began before it was known",
                "schema": { "type": "string" },
            } });
        }
        done
    }

    fn parameters(&self) -> impl Iterator<Item = Value> {
        let in_path = self.path.split('{').skip(1);
        let names = in_path.filter_map(|rest| rest.split('}').next());
        let in_path = names.map(|name| (name, "path", true));
        let needed = self.query.iter().map(|name| (*name, "query", true));
        let chosen = self.choices.iter().map(|name| (*name, "query", false));
        let all = in_path.chain(needed).chain(chosen);
        all.map(|(name, place, required)| {
            json!({
                "name": name, "in": place, "required": required, "schema": { "type": "string" },
            })
        })
    }

    fn content(&self) -> Value {
        let mut content = Map::new();
        if let Some(answer) = self.answer {
            content.insert(
                "application/json".to_owned(),
                json!({ "schema": reference(answer) }),
            );
        }
        if self.streams {
            let text = json!({ "schema": { "type": "string" } });
            content.insert("text/event-stream".to_owned(), text);
        }
        if content.is_empty() {
            let text = json!({ "schema": { "type": "string" } });
            content.insert("text/plain".to_owned(), text);
        }
        Value::Object(content)
    }
}

/// The header that says how far a request's text may travel.
fn privacy() -> Value {
    json!({
        "name": "X-Shoal-Privacy",
        "in": "header",
        "description": "Who may see the text: only this node; it and trusted peers; any peer of \
            the swarm. Without it the setting `privacy` decides.",
        "schema": { "enum": ["local", "trusted", "swarm"] },
    })
}

fn error(description: &str) -> Value {
    json!({
        "description": description,
        "content": { "application/json": { "schema": reference("Error") } },
    })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Routes as the sources register them: `.route("/path", method(…))`.
    fn registered() -> BTreeSet<(String, String)> {
        let sources = [
            include_str!("router.rs"),
            include_str!("management.rs"),
            include_str!("boards/routes.rs"),
        ];
        let mut found = BTreeSet::new();
        for rest in sources
            .iter()
            .flat_map(|source| source.split(".route(").skip(1))
        {
            let mut quoted = rest.split('"');
            let path = quoted.nth(1).unwrap().replace("{*", "{");
            let after = quoted.next().unwrap().trim_start_matches([',', ' ', '\n']);
            let method = after.split('(').next().unwrap().trim();
            found.insert((method.to_owned(), path));
        }
        found
    }

    #[test]
    fn it_lists_exactly_the_routers_routes() {
        let documented: BTreeSet<_> = operations()
            .map(|operation| (operation.method.to_owned(), operation.path.to_owned()))
            .collect();
        assert_eq!(documented, registered());
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let document = document();
        let text = document.to_string();
        for name in text.split("#/components/schemas/").skip(1) {
            let name = name.split('"').next().unwrap();
            assert!(
                document["components"]["schemas"][name].is_object(),
                "{name}"
            );
        }
    }
}
