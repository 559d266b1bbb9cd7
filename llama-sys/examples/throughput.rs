//! Measures the in-process engine: `throughput MODEL [STREAMS] [PROMPT_TOKENS] [ANSWER_TOKENS]`.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a tool for a terminal"
)]

use std::time::Instant;

use llama_sys::engine::{Engine, Event, Grammar, Job, Prompt, Sampling};
use llama_sys::local::{LocalConfig, LocalEngine};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = |i: usize, default: u32| args.get(i).map_or(default, |a| a.parse().unwrap());
    let (streams, prompt, answer) = (number(2, 1), number(3, 256), number(4, 128));
    let mut config = LocalConfig::new(&args[1]);
    config.parallel = Some(streams.max(1));
    let engine = LocalEngine::load(&config, |_| true).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(measure(&engine, streams, prompt, answer));
}

async fn measure(engine: &LocalEngine, streams: u32, prompt: u32, answer: u32) {
    for round in 0..3 {
        let begun = Instant::now();
        let mut all = Vec::new();
        for stream in 0..streams {
            all.push(
                engine
                    .generate(job(round * 1000 + stream, prompt, answer))
                    .await
                    .unwrap(),
            );
        }
        let mut first = Vec::new();
        let mut reads = Vec::new();
        for mut events in all {
            reads.push(tokio::spawn(async move {
                let mut first = None;
                let mut tokens = 0;
                while let Some(event) = events.recv().await {
                    match event {
                        Event::Delta(delta) => {
                            first.get_or_insert_with(Instant::now);
                            tokens += delta.tokens.len();
                        }
                        Event::Failed(error) => println!("{error}"),
                        _ => {}
                    }
                }
                (first.unwrap_or_else(Instant::now), tokens)
            }));
        }
        let mut tokens = 0;
        for read in reads {
            let (at, n) = read.await.unwrap();
            first.push(at);
            tokens += n;
        }
        let end = Instant::now();
        let last_first = *first.iter().max().unwrap();
        let prefill = (last_first - begun).as_secs_f64();
        let decode = (end - last_first).as_secs_f64();
        let prefill_rate = f64::from(streams * prompt) / prefill;
        println!(
            "streams {streams}: prefill {prefill_rate:.0} tok/s, first token of the last {:.1} ms, \
             decode {:.1} tok/s, all {:.1} tok/s",
            prefill * 1e3,
            (tokens as f64 - f64::from(streams)) / decode,
            tokens as f64 / (end - begun).as_secs_f64(),
        );
    }
}

fn job(salt: u32, prompt: u32, answer: u32) -> Job {
    // Tokens that no other job begins with, so that nothing comes from the cache.
    let tokens = (0..prompt)
        .map(|i| 300 + (i * 7 + salt * 131) % 1500)
        .collect();
    Job {
        request_id: salt.to_string(),
        prompt: Prompt::Tokens(tokens),
        sampling: Sampling::default(),
        seed: u64::from(salt),
        max_tokens: Some(answer),
        stop: Vec::new(),
        grammar: Grammar::None,
        logprobs: None,
        prompt_logprobs: false,
        show_special: false,
        resume: None,
    }
}
