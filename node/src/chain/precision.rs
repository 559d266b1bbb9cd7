//! The format of hidden states, between the wire of leases and the engine's own type.

use llama_sys::stage::Precision as Engine;
use protocol::chain::Precision as Wire;

/// As an engine takes it.
pub(crate) fn to_engine(precision: Wire) -> Engine {
    match precision {
        Wire::F32 => Engine::F32,
        Wire::Bf16 => Engine::Bf16,
        Wire::Q8 => Engine::Q8,
    }
}
