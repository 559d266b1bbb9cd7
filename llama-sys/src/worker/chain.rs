//! The worker's tasks in a chain: the head, whose ring's payloads travel beside its requests, and
//! a slice, which knows nothing but payloads.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::ipc::Message;
use super::session::{Reader, next, send};
use super::{Progress, process};
use crate::engine::{Engine, JobError};
use crate::stage::{FromHead, HeadConfig, SliceConfig, ToHead};

/// Where a head is told of its ring.
#[async_trait]
pub(super) trait RingEnd: Send + Sync {
    /// Tells it.
    async fn tell(&self, event: ToHead) -> Result<(), JobError>;
}

/// The ring of a head.
pub(super) struct HeadRing {
    pub(super) end: Arc<dyn RingEnd>,
    pub(super) said: mpsc::Receiver<FromHead>,
}

/// Loads a head; its engine, and the way to its ring.
pub(super) async fn load_head(config: HeadConfig) -> Result<(Arc<dyn Engine>, HeadRing), String> {
    limit(config.memory_limit_bytes)?;
    let loaded = tokio::task::spawn_blocking(move || here::load_head(&config)).await;
    loaded.map_err(|error| error.to_string())?
}

/// Loads a slice and computes the node's payloads until it hangs up. `Err`: why it was not loaded.
pub(super) async fn serve_slice(
    config: SliceConfig,
    reader: &mut Reader,
    out: &mpsc::Sender<Message>,
    progress: Progress,
) -> Result<(), String> {
    limit(config.memory_limit_bytes)?;
    let loaded = tokio::task::spawn_blocking(move || here::load_slice(&config, progress)).await;
    let here::LoadedSlice {
        info,
        payloads,
        mut said,
        held,
    } = loaded.map_err(|error| error.to_string())??;
    send(out, Message::SliceReady(info)).await;
    let talker = out.clone();
    tokio::spawn(async move {
        while let Some(said) = said.recv().await {
            send(&talker, Message::FromStage(said)).await;
        }
        // The thread ends before its owner only by a panic, which has printed its message.
        process::die();
    });
    loop {
        match next(reader).await {
            Message::Payload(payload) => {
                if payloads.send(payload).await.is_err() {
                    break;
                }
            }
            Message::Ping => send(out, Message::Pong).await,
            _ => break,
        }
    }
    // A node of this version sends nothing else after its hello.
    drop(held);
    process::die()
}

fn limit(memory_bytes: Option<u64>) -> Result<(), String> {
    let failed = |error| format!("the memory limit could not be set: {error}");
    memory_bytes.map_or(Ok(()), |bytes| process::limit_memory(bytes).map_err(failed))
}

#[cfg(feature = "llama")]
mod here {
    //! With llama.cpp.

    use std::any::Any;
    use std::sync::Arc;

    use async_trait::async_trait;
    use bytes::Bytes;
    use tokio::sync::mpsc;

    use super::{HeadRing, RingEnd};
    use crate::engine::{Engine, JobError};
    use crate::local::{LocalEngine, SliceStage};
    use crate::stage::{FromStage, HeadConfig, SliceConfig, SliceInfo, ToHead};
    use crate::worker::{Progress, report, with_sources};

    pub(super) struct LoadedSlice {
        pub(super) info: SliceInfo,
        pub(super) payloads: mpsc::Sender<Bytes>,
        pub(super) said: mpsc::Receiver<FromStage>,
        pub(super) held: Box<dyn Any + Send>,
    }

    #[async_trait]
    impl RingEnd for LocalEngine {
        async fn tell(&self, event: ToHead) -> Result<(), JobError> {
            self.tell(event).await
        }
    }

    pub(super) fn load_head(config: &HeadConfig) -> Result<(Arc<dyn Engine>, HeadRing), String> {
        let loaded = LocalEngine::load_head(config);
        let (engine, said) = loaded.map_err(|error| with_sources(&error))?;
        engine.draft_trouble().into_iter().for_each(report);
        let engine = Arc::new(engine);
        let end = Arc::clone(&engine) as Arc<dyn RingEnd>;
        Ok((engine, HeadRing { end, said }))
    }

    pub(super) fn load_slice(
        config: &SliceConfig,
        mut progress: Progress,
    ) -> Result<LoadedSlice, String> {
        let tell = |done| {
            progress(done);
            true
        };
        let loaded = SliceStage::load(config, tell);
        let (stage, said) = loaded.map_err(|error| with_sources(&error))?;
        Ok(LoadedSlice {
            info: stage.info(),
            payloads: stage.payloads(),
            said,
            held: Box::new(stage),
        })
    }
}

#[cfg(not(feature = "llama"))]
mod here {
    //! Without llama.cpp nothing is loaded.

    use std::any::Any;
    use std::sync::Arc;

    use bytes::Bytes;
    use tokio::sync::mpsc;

    use super::HeadRing;
    use crate::engine::Engine;
    use crate::stage::{FromStage, HeadConfig, SliceConfig, SliceInfo};
    use crate::worker::{NO_ENGINE, Progress};

    pub(super) struct LoadedSlice {
        pub(super) info: SliceInfo,
        pub(super) payloads: mpsc::Sender<Bytes>,
        pub(super) said: mpsc::Receiver<FromStage>,
        pub(super) held: Box<dyn Any + Send>,
    }

    pub(super) fn load_head(_: &HeadConfig) -> Result<(Arc<dyn Engine>, HeadRing), String> {
        Err(NO_ENGINE.into())
    }

    pub(super) fn load_slice(_: &SliceConfig, _: Progress) -> Result<LoadedSlice, String> {
        Err(NO_ENGINE.into())
    }
}
