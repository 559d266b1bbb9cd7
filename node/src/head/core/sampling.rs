//! Sampling parameters of a request, where it leaves them open filled in by the model's makers'
//! advice, else the engine's defaults.

use llama_sys::engine;
use llama_sys::gguf::SamplingDefaults;
use protocol::generate::Sampling;

/// The parameters to use.
pub fn resolve(asked: Option<&Sampling>, advised: &SamplingDefaults) -> engine::Sampling {
    let none = Sampling::default();
    let asked = asked.unwrap_or(&none);
    let usual = engine::Sampling::default();
    engine::Sampling {
        temperature: pick(asked.temperature, advised.temperature, usual.temperature),
        top_p: pick(asked.top_p, advised.top_p, usual.top_p),
        top_k: pick(asked.top_k, advised.top_k, usual.top_k),
        min_p: pick(asked.min_p, advised.min_p, usual.min_p),
        repeat_penalty: pick(
            asked.repeat_penalty,
            advised.repeat_penalty,
            usual.repeat_penalty,
        ),
        presence_penalty: asked.presence_penalty.unwrap_or(usual.presence_penalty),
        frequency_penalty: asked.frequency_penalty.unwrap_or(usual.frequency_penalty),
        logit_bias: asked.logit_bias.iter().map(|b| (b.token, b.bias)).collect(),
    }
}

fn pick<T>(asked: Option<T>, advised: Option<T>, usual: T) -> T {
    asked.or(advised).unwrap_or(usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_wins_over_the_model_over_the_engine() {
        let advised = SamplingDefaults {
            temperature: Some(0.2),
            top_k: Some(7),
            ..SamplingDefaults::default()
        };
        let asked = Sampling {
            temperature: Some(1.5),
            ..Sampling::default()
        };
        let resolved = resolve(Some(&asked), &advised);
        assert_eq!(resolved.temperature, 1.5);
        assert_eq!(resolved.top_k, 7);
        assert_eq!(resolved.top_p, engine::Sampling::default().top_p);
    }
}
