//! What every answer and every chunk of it repeat: id, kind, time, model, fingerprint. It is
//! serialised once for each answer.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{BufMut, BytesMut};
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
