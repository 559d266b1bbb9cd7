//! Measures the in-process engine:
//! `throughput MODEL [STREAMS] [PROMPT_TOKENS] [ANSWER_TOKENS] [ROUNDS] [CACHED_TOKENS] [THREADS]`.
//! `CACHED_TOKENS`: first fill the prefix cache with that many, in prompts of 1000.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a tool for a terminal"
)]

use std::time::{Duration, Instant};

use llama_sys::engine::{Engine, Event, Grammar, Job, Prompt, Sampling};
use llama_sys::local::{LocalConfig, LocalEngine};

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let number = |i: usize, default: u32| args.get(i).map_or(default, |a| a.parse().unwrap());
    let (streams, prompt, answer) = (number(2, 1), number(3, 256), number(4, 128));
    let (rounds, cached) = (number(5, 3), number(6, 0));
    let mut config = LocalConfig::new(&args[1]);
    config.parallel = Some(streams.max(1));
    config.cells = Some(8192);
    config.threads = args.get(7).map(|a| a.parse().unwrap());
    let engine = LocalEngine::load(&config, |_| true).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        for filler in 0..cached / 1000 {
            let mut events = engine.generate(job(9_000 + filler, 1000, 1)).await.unwrap();
            while events.recv().await.is_some() {}
        }
        for round in 0..rounds {
            measure(&engine, round, (streams, prompt, answer)).await;
        }
    });
}

async fn measure(engine: &LocalEngine, round: u32, (streams, prompt, answer): (u32, u32, u32)) {
    {
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
                            first.get_or_insert_with(now);
                            tokens += delta.tokens.len();
                        }
                        Event::Failed(error) => println!("{error}"),
                        _ => {}
                    }
                }
                (first.unwrap_or_else(now), tokens)
            }));
        }
        let mut tokens = 0;
        for read in reads {
            let (at, n) = read.await.unwrap();
            first.push(at);
            tokens += n;
        }
        let (end, cpu_end) = now();
        let (last_first, cpu) = *first.iter().max().unwrap();
        let cpu = (cpu_end - cpu).as_secs_f64() * 1e3;
        let prefill = (last_first - begun).as_secs_f64();
        let decode = (end - last_first).as_secs_f64();
        let prefill_rate = f64::from(streams * prompt) / prefill;
        println!(
            "streams {streams}: prefill {prefill_rate:.0} tok/s, first token of the last {:.1} ms, \
             decode {:.1} tok/s, {:.2} ms of processor a token, all {:.1} tok/s",
            prefill * 1e3,
            (tokens as f64 - f64::from(streams)) / decode,
            cpu / (tokens as f64 - f64::from(streams)),
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

/// The time, and the processor time that this process has used.
fn now() -> (Instant, Duration) {
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    (Instant::now(), cpu.try_into().unwrap())
}
