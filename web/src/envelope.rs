//! What every answer and every chunk of it repeat: id, kind, time, model, fingerprint. It is
//! serialised once for each answer.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{BufMut, BytesMut};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    sse::{Events, write_json},
    usage::UsageJson,
};

/// The build that answers: another one may sample otherwise.
pub(crate) const FINGERPRINT: &str = concat!("shoal-", env!("CARGO_PKG_VERSION"));

/// The repeated fields.
#[derive(Debug, Clone)]
pub(crate) struct Envelope {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
    /// `{"id":…,"system_fingerprint":…,"choices":[`; empty until the first chunk.
    prefix: Vec<u8>,
    servers: Servers,
    /// Servers that the next chunk tells of.
    untold: Option<Servers>,
}

/// Who answered, where another node than this one took part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Servers {
    /// Peers in the order in which they answered; this node is `local`.
    served_by: Vec<String>,
}

impl Servers {
    /// Adds those of one choice that are not among them yet.
    pub(crate) fn add(&mut self, peers: &[String]) {
        for peer in peers {
            let shown = shown_server(peer);
            if !self.served_by.iter().any(|known| known == shown) {
                self.served_by.push(shown.to_owned());
            }
        }
    }

    /// This node answered alone.
    pub(crate) fn is_empty(&self) -> bool {
        self.served_by.is_empty()
    }
}

/// A peer's name as clients see it; the protocol's empty text is this node.
pub(crate) fn shown_server(peer: &str) -> &str {
    if peer.is_empty() { "local" } else { peer }
}

impl Envelope {
    /// A new answer's, with an id of this kind (`chatcmpl`, `cmpl`).
    pub(crate) fn new(id_kind: &str, object: &'static str, model: String) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        Self {
            id: format!("{id_kind}-{}", Uuid::new_v4().simple()),
            object,
            created: now.map_or(0, |now| now.as_secs()),
            model,
            prefix: Vec::new(),
            servers: Servers::default(),
            untold: None,
        }
    }

    /// Who answered a choice; told in the next chunk, and in the whole answer.
    pub(crate) fn name_servers(&mut self, peers: &[String]) {
        if !peers.is_empty() {
            self.servers.add(peers);
            let mut of_choice = Servers::default();
            of_choice.add(peers);
            self.untold = Some(of_choice);
        }
    }

    /// The model's full name, once it is known. What has begun keeps the name that it began with.
    pub(crate) fn name_model(&mut self, full: &str) {
        if !full.is_empty() && self.prefix.is_empty() {
            full.clone_into(&mut self.model);
        }
    }

    /// A whole answer.
    pub(crate) fn whole(&self, choices: Vec<Value>, usage: UsageJson) -> Value {
        let mut answer = self.repeated();
        answer["choices"] = Value::Array(choices);
        answer["usage"] = json!(usage);
        if !self.servers.is_empty() {
            answer["shoal"] = json!(self.servers);
        }
        answer
    }

    /// One chunk: `write` appends what stands in `choices`, `usage` the field, if it is there.
    pub(crate) fn chunk(
        &mut self,
        out: &mut Events,
        usage: ChunkUsage,
        write: impl FnOnce(&mut BytesMut),
    ) {
        if self.prefix.is_empty() {
            self.prefix = self.render_prefix();
        }
        let untold = self.untold.take();
        out.raw_data(|out| {
            out.put_slice(&self.prefix);
            write(out);
            out.put_slice(b"]");
            match usage {
                ChunkUsage::Absent => {}
                ChunkUsage::Null => out.put_slice(b",\"usage\":null"),
                ChunkUsage::Total(usage) => {
                    out.put_slice(b",\"usage\":");
                    write_json(out, &usage);
                }
            }
            if let Some(servers) = &untold {
                out.put_slice(b",\"shoal\":");
                write_json(out, servers);
            }
            out.put_slice(b"}");
        });
    }

    fn render_prefix(&self) -> Vec<u8> {
        let mut prefix = self.repeated().to_string().into_bytes();
        prefix.pop();
        prefix.extend_from_slice(b",\"choices\":[");
        prefix
    }

    fn repeated(&self) -> Value {
        json!({
            "id": self.id,
            "object": self.object,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": FINGERPRINT,
        })
    }
}

/// The field `usage` of a chunk.
#[derive(Debug, Clone, Copy)]
pub(crate) enum ChunkUsage {
    /// Not asked for.
    Absent,
    /// Asked for, and still to come.
    Null,
    /// Asked for, and here.
    Total(UsageJson),
}

impl ChunkUsage {
    /// Of every chunk but the last.
    pub(crate) fn before_end(include_usage: bool) -> Self {
        match include_usage {
            true => Self::Null,
            false => Self::Absent,
        }
    }
}
