//! What this node says of itself: from what it is to a [`Profile`] whose every field passes the
//! swarm's checks. What only the network knows (addresses, NAT, neighbours, place, the swarm's
//! size) is left empty: whoever publishes the profile adds it.

use protocol::ModelName;
use protocol::advert::{Abilities, Deployed, DeviceKind, Limits, NodeDevice, NodeRole, Profile};
use protocol::limits::{
    MAX_ADVERT_COMING, MAX_DEPLOYMENT_SESSIONS, MAX_DEVICE_NAME_BYTES, MAX_MEMORY_BYTES,
    MAX_RATE_PER_SECOND, MAX_TOKENS, MAX_VERSION_BYTES,
};
use protocol::names::SwarmName;

use crate::core::fairness::guest_slots;
use crate::core::speed::Speed;

/// What the node is now.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The swarm that hears it.
    pub swarm: SwarmName,
    /// The software's version.
    pub version: String,
    /// What it does in the swarm.
    pub role: NodeRole,
    /// What it computes on.
    pub devices: Vec<Figures>,
    /// What its owner allows.
    pub limits: Limits,
    /// Share of each model's sequences that is kept for the owner, percent.
    pub own_percent: u8,
    /// What it serves, the most important first.
    pub served: Vec<Served>,
    /// What it is about to serve.
    pub coming: Vec<ModelName>,
}

/// A device's figures.
#[derive(Debug, Clone, PartialEq)]
pub struct Figures {
    /// llama.cpp's name of the backend: `CPU`, `CUDA`, `ROCm`, `Metal`, `Vulkan`.
    pub backend: String,
    /// For people.
    pub name: String,
    /// All of its memory, bytes.
    pub memory_total_bytes: u64,
    /// What is free of it, bytes.
    pub memory_free_bytes: u64,
    /// Tokens of a prompt a second for a billion parameters; `None`: not measured.
    pub prefill_tokens_per_second: Option<f64>,
    /// Effective memory bandwidth; `None`: not measured.
    pub bandwidth_bytes_per_second: Option<f64>,
}

/// A loaded model that peers may use.
#[derive(Debug, Clone, PartialEq)]
pub struct Served {
    /// Its full name.
    pub model: ModelName,
    /// Tokens of one sequence.
    pub context_tokens: u32,
    /// Sequences that it runs at a time.
    pub parallel: u32,
    /// Requests that use it, the owner's included.
    pub leases: u32,
    /// Requests of peers that wait for it.
    pub waiting: u32,
    /// How fast it answers.
    pub speed: Speed,
    /// What it can do.
    pub abilities: Abilities,
}

/// The profile of a node that is this.
pub fn build(facts: &Facts) -> Profile {
    let limits = Limits {
        memory_bytes: facts.limits.memory_bytes.map(memory),
        upload_bytes_per_second: facts.limits.upload_bytes_per_second.map(memory),
        ..facts.limits
    };
    let serves = facts.role == NodeRole::Server;
    let served = facts.served.iter().filter(|_| serves);
    Profile {
        version: text(&facts.version, MAX_VERSION_BYTES),
        devices: facts.devices.iter().map(device).collect(),
        limits,
        deployments: served
            .filter_map(|served| deployment(served, facts.own_percent))
            .collect(),
        coming: match serves {
            true => facts
                .coming
                .iter()
                .take(MAX_ADVERT_COMING)
                .cloned()
                .collect(),
            false => Vec::new(),
        },
        ..Profile::new(facts.swarm.clone(), facts.role)
    }
}

/// What peers can have of a model: its sequences without the owner's share, taken when they are
/// given to peers or the owner uses more than the share.
fn deployment(served: &Served, own_percent: u8) -> Option<Deployed> {
    if served.parallel == 0 || served.context_tokens == 0 {
        return None;
    }
    let longest = u32::try_from(MAX_TOKENS).unwrap_or(u32::MAX);
    let parallel = guest_slots(served.parallel, own_percent).min(MAX_DEPLOYMENT_SESSIONS);
    let free = served.parallel.saturating_sub(served.leases).min(parallel);
    let beyond = served.leases.saturating_sub(served.parallel);
    let queued = served.waiting.saturating_add(beyond);
    Some(Deployed {
        model: served.model.clone(),
        context_tokens: served.context_tokens.min(longest),
        parallel,
        running: parallel - free,
        queued: queued.min(MAX_DEPLOYMENT_SESSIONS),
        prefill_tokens_per_second: served.speed.prefill().and_then(rate),
        decode_tokens_per_second: served.speed.decode().and_then(rate),
        abilities: served.abilities,
    })
}

/// A device as it is said to others.
pub fn device(figures: &Figures) -> NodeDevice {
    #[expect(clippy::cast_possible_truncation, reason = "seven digits are plenty")]
    let figure = |value: Option<f64>| value.and_then(|value| rate(value as f32));
    let total = memory(figures.memory_total_bytes);
    NodeDevice {
        kind: kind(&figures.backend),
        name: text(&figures.name, MAX_DEVICE_NAME_BYTES),
        memory_total_bytes: total,
        memory_free_bytes: figures.memory_free_bytes.min(total),
        prefill_tokens_per_second: figure(figures.prefill_tokens_per_second),
        bandwidth_bytes_per_second: figure(figures.bandwidth_bytes_per_second),
    }
}

fn kind(backend: &str) -> DeviceKind {
    match backend {
        "CPU" => DeviceKind::Cpu,
        "CUDA" => DeviceKind::Cuda,
        "ROCm" => DeviceKind::Rocm,
        "Metal" => DeviceKind::Metal,
        "Vulkan" => DeviceKind::Vulkan,
        _ => DeviceKind::Unspecified,
    }
}

fn memory(bytes: u64) -> u64 {
    bytes.min(MAX_MEMORY_BYTES)
}

/// A rate as it may be said; none is not measured.
fn rate(per_second: f32) -> Option<f32> {
    let is_one = per_second.is_finite() && per_second > 0.0;
    is_one.then(|| per_second.min(MAX_RATE_PER_SECOND))
}

/// Printable ASCII of a bounded length; everything else becomes `?`.
fn text(text: &str, limit: usize) -> String {
    let plain = |c: char| match c {
        ' ' | '!'..='~' => c,
        _ => '?',
    };
    text.chars().take(limit).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::advert::Advert;

    use super::*;
    use crate::core::speed::Answered;

    fn served(parallel: u32, leases: u32, waiting: u32) -> Served {
        let mut speed = Speed::default();
        speed.note(&Answered {
            prompt_tokens: 1000,
            prefill_micros: 1_000_000,
            answer_tokens: 51,
            decode_micros: 1_000_000,
        });
        Served {
            model: "org/m".parse().unwrap(),
            context_tokens: 8192,
            parallel,
            leases,
            waiting,
            speed,
            abilities: Abilities::default(),
        }
    }

    fn facts(served: Vec<Served>) -> Facts {
        Facts {
            swarm: SwarmName::public(),
            version: "0.1.0".into(),
            role: NodeRole::Server,
            devices: Vec::new(),
            limits: Limits::default(),
            own_percent: 25,
            served,
            coming: vec!["org/soon".parse().unwrap()],
        }
    }

    #[test]
    fn a_deployment_says_what_peers_can_have() {
        let of = |served| build(&facts(vec![served])).deployments.remove(0);
        let idle = of(served(16, 0, 0));
        assert_eq!((idle.parallel, idle.running, idle.queued), (12, 0, 0));
        assert_eq!(idle.prefill_tokens_per_second, Some(1000.0));
        assert_eq!(idle.decode_tokens_per_second, Some(50.0));
        let owner_alone = of(served(16, 4, 0));
        assert_eq!(owner_alone.running, 0);
        let busy = of(served(16, 10, 3));
        assert_eq!((busy.running, busy.queued), (6, 3));
        let full = of(served(16, 20, 3));
        assert_eq!((full.running, full.queued), (12, 7));
    }

    #[test]
    fn what_is_loading_is_not_said_and_a_client_serves_nothing() {
        assert_eq!(build(&facts(vec![served(0, 0, 0)])).deployments, []);
        let client = Facts {
            role: NodeRole::ApiClient,
            ..facts(vec![served(16, 0, 0)])
        };
        assert_eq!(build(&client).deployments, []);
        assert_eq!(build(&client).coming, []);
        assert_eq!(build(&facts(Vec::new())).coming.len(), 1);
    }

    fn any_figures() -> impl Strategy<Value = Figures> {
        let figure = || proptest::option::of(any::<f64>());
        let memory = (any::<u64>(), any::<u64>());
        (".{0,80}", ".{0,100}", memory, figure(), figure()).prop_map(
            |(backend, name, memory, prefill, bandwidth)| Figures {
                backend,
                name,
                memory_total_bytes: memory.0,
                memory_free_bytes: memory.1,
                prefill_tokens_per_second: prefill,
                bandwidth_bytes_per_second: bandwidth,
            },
        )
    }

    proptest! {
        /// Whatever the node is, its advert passes every peer's checks and says the same.
        #[test]
        fn every_profile_is_a_valid_advert(
            devices in proptest::collection::vec(any_figures(), 0..4),
            numbers in proptest::array::uniform5(any::<u32>()),
            limits in proptest::array::uniform2(proptest::option::of(any::<u64>())),
            own_percent in any::<u8>(),
            version in ".{0,100}",
        ) {
            let [context, parallel, leases, waiting, tokens] = numbers;
            let mut one = served(parallel, leases, waiting);
            one.context_tokens = context;
            one.speed.note(&Answered {
                prompt_tokens: tokens,
                prefill_micros: 1,
                answer_tokens: tokens,
                decode_micros: u64::MAX,
            });
            let facts = Facts {
                version,
                devices,
                own_percent,
                limits: Limits {
                    memory_bytes: limits[0],
                    upload_bytes_per_second: limits[1],
                    serves_strangers: true,
                },
                ..facts(vec![one])
            };
            let profile = build(&facts);
            let said = Profile::try_from(&Advert::fitting(&profile));
            prop_assert_eq!(said, Ok(profile));
        }
    }
}
