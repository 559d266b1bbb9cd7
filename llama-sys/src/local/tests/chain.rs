//! A head and its stages in this process, against the whole model.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::*;
use crate::gguf::slice::{self, Materialising, SlicePlan, Sliceable};
use crate::stage::{Back, Forward, FromStage, MAX_IN_FLIGHT, Precision, SliceConfig};

const CONTEXT: u32 = 512;
const PARALLEL: u32 = 4;

/// What is done to payloads on their way to a stage: given its number and the payload's.
pub(super) type Fault = Box<dyn Fn(usize, u64, Bytes) -> Option<Bytes> + Send + Sync>;

/// A chain whose payloads are carried from thread to thread.
pub(super) struct Ring {
    pub(super) head: Arc<LocalEngine>,
    carriers: Vec<JoinHandle<()>>,
    _stages: Vec<SliceStage>,
    broken: mpsc::Receiver<String>,
    _folder: TempDir,
}

fn head_config(file: &Path, precision: Precision) -> HeadConfig {
    HeadConfig {
        file: file.to_owned(),
        context_length: CONTEXT,
        parallel: PARALLEL,
        cells: 2 * CONTEXT,
        sequences: 8,
        batch_tokens: 64,
        queue_limit: 32,
        precision,
        embedding_scale: 1.0,
        memory_limit_bytes: None,
        speculate: Speculate::Off,
        draft: None,
    }
}

fn slice_config(file: PathBuf, precision: Precision) -> SliceConfig {
    SliceConfig {
        file,
        cells: 2 * CONTEXT,
        sequences: 8,
        batch_tokens: 64,
        threads: Some(1),
        gpu_layers: None,
        is_last: false,
        input_scale: 1.0,
        precision,
        memory_limit_bytes: None,
    }
}

fn cut(source: &crate::gguf::Model, plan: SlicePlan, to: PathBuf) -> PathBuf {
    let order = Materialising {
        plan: Arc::new(plan),
        files: &source.files,
        to: &to,
        budget_bytes: u64::MAX,
    };
    slice::materialise(&order, &mut |_, _| true).unwrap();
    to
}

/// How a head is loaded.
pub(super) type MakeHead = dyn Fn(&HeadConfig) -> (LocalEngine, mpsc::Receiver<FromHead>) + Sync;

impl Ring {
    async fn new(cuts: &[u32], precision: Precision, fault: Option<Fault>) -> Self {
        let make = |config: &HeadConfig| LocalEngine::load_head(config).unwrap();
        Self::with_head(cuts, precision, fault, &make).await
    }

    pub(super) async fn with_head(
        cuts: &[u32],
        precision: Precision,
        fault: Option<Fault>,
        make: &MakeHead,
    ) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let source = crate::gguf::Model::open(moe().model).unwrap();
        let layers = source.facts.layers;
        let sliceable = Sliceable::of(&source.headers).unwrap();
        let cut = |name: &str, plan: SlicePlan| cut(&source, plan, folder.path().join(name));
        let file = cut("head.gguf", sliceable.head().unwrap());
        let (head, from_head) = make(&head_config(&file, precision));
        let head = Arc::new(head);
        let ends: Vec<u32> = cuts.iter().copied().chain([layers]).collect();
        let mut begin = 0;
        let mut stages = Vec::new();
        for (number, end) in ends.iter().enumerate() {
            let plan = sliceable.stage(begin..*end).unwrap();
            let config = SliceConfig {
                is_last: *end == layers,
                ..slice_config(cut(&format!("{number}.gguf"), plan), precision)
            };
            stages.push(SliceStage::load(&config, |_| true).unwrap());
            begin = *end;
        }
        Self::joined(head, from_head, stages, folder, fault).await
    }

    async fn joined(
        head: Arc<LocalEngine>,
        from_head: mpsc::Receiver<FromHead>,
        stages: Vec<(SliceStage, mpsc::Receiver<FromStage>)>,
        folder: TempDir,
        fault: Option<Fault>,
    ) -> Self {
        let (told, broken) = mpsc::channel(16);
        let (stages, said): (Vec<_>, Vec<_>) = stages.into_iter().unzip();
        let inputs: Vec<_> = stages.iter().map(|s| s.payloads()).collect();
        let fault: Arc<Fault> = Arc::new(fault.unwrap_or(Box::new(|_, _, payload| Some(payload))));
        let mut carriers = vec![tokio::spawn(carry_first(
            from_head,
            inputs[0].clone(),
            told.clone(),
            Arc::clone(&fault),
        ))];
        for (number, messages) in said.into_iter().enumerate() {
            let next = inputs.get(number + 1).cloned();
            carriers.push(tokio::spawn(carry(
                (number, messages),
                next,
                (Arc::clone(&head), told.clone()),
                Arc::clone(&fault),
            )));
        }
        head.tell(ToHead::Up(1)).await.unwrap();
        Self {
            head,
            carriers,
            _stages: stages,
            broken,
            _folder: folder,
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.carriers.iter().for_each(JoinHandle::abort);
    }
}

async fn carry_first(
    mut from_head: mpsc::Receiver<FromHead>,
    first: mpsc::Sender<Bytes>,
    told: mpsc::Sender<String>,
    fault: Arc<Fault>,
) {
    let mut count = 0;
    while let Some(said) = from_head.recv().await {
        match said {
            FromHead::Forward(payload) => {
                if let Some(payload) = fault(0, count, payload) {
                    first.send(payload).await.unwrap();
                }
                count += 1;
            }
            FromHead::Broken(cause) => told.send(cause).await.unwrap(),
        }
    }
}

async fn carry(
    (number, mut messages): (usize, mpsc::Receiver<FromStage>),
    next: Option<mpsc::Sender<Bytes>>,
    (head, told): (Arc<LocalEngine>, mpsc::Sender<String>),
    fault: Arc<Fault>,
) {
    let mut count = 0;
    while let Some(said) = messages.recv().await {
        match said {
            FromStage::Next(payload) => {
                let next = next.as_ref().expect("the last stage has no next");
                if let Some(payload) = fault(number + 1, count, payload) {
                    next.send(payload).await.unwrap();
                }
            }
            FromStage::Back(payload) => head.tell(ToHead::Back(payload)).await.unwrap(),
            FromStage::Nothing => {}
            FromStage::Broken(cause) => told.send(cause).await.unwrap(),
        }
        count += 1;
    }
}

/// The whole model with the same batches: nothing of the answer may then differ.
fn whole() -> LocalEngine {
    load(&LocalConfig {
        context_length: Some(CONTEXT),
        parallel: Some(PARALLEL),
        cells: Some(2 * CONTEXT),
        batch_tokens: 64,
        ..moe()
    })
}

/// What a client sees of an answer.
pub(super) type Seen = (
    String,
    Vec<u32>,
    Option<(FinishReason, Option<String>, u32)>,
);

/// What the ring ends with, and what a neighbour did to a payload.
type Edit = (&'static str, fn(Forward) -> Forward);

pub(super) fn told(answer: &Answer) -> Seen {
    (
        answer.text.clone(),
        answer.tokens.clone(),
        answer.finish.clone(),
    )
}

pub(super) const LONG: &str = "fn main() {\n    let mut numbers = Vec::new();\n    for number in 0..10 {\n        numbers.push(number * 2);\n    }\n    println!(\"{:?}\", numbers);\n}\n\n/// Adds two numbers and gives the sum of both of them back to whoever called.\nfn add(";

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_answers_as_the_whole_model_does() {
    let whole = whole();
    for cuts in [&[2][..], &[1, 3]] {
        let ring = Ring::new(cuts, Precision::F32, None).await;
        for (temperature, seed) in [(0.0, 1), (1.0, 1), (1.0, 2)] {
            let mut wanted = job(LONG, 40);
            wanted.sampling.temperature = temperature;
            wanted.seed = seed;
            wanted.logprobs = Some(3);
            let expected = ask(&whole, wanted.clone()).await;
            let answer = ask(&ring.head, wanted).await;
            assert_eq!(answer.failed, None);
            assert_eq!(told(&answer), told(&expected), "{cuts:?} {temperature}");
            assert_eq!(answer.logprobs, expected.logprobs);
            assert_eq!(answer.prompt_tokens, expected.prompt_tokens);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prefixes_are_used_again_and_sessions_share_batches() {
    let ring = Ring::new(&[2], Precision::F32, None).await;
    let first = ask(&ring.head, job(LONG, 10)).await;
    let again = ask(&ring.head, job(LONG, 10)).await;
    assert_eq!(told(&again), told(&first));
    assert!(again.cached_tokens > 20, "{}", again.cached_tokens);
    let mut running = Vec::new();
    for number in 0..12 {
        let prompt = format!("{LONG}a{number}: i32");
        running.push(ring.head.generate(job(&prompt, 12)).await.unwrap());
    }
    for events in running {
        let answer = collect(events).await;
        assert_eq!(answer.failed, None);
        assert_eq!(answer.finish.unwrap().2, 12);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grammars_prompts_log_probabilities_and_limits_are_the_last_stages() {
    let whole = whole();
    let ring = Ring::new(&[3], Precision::F32, None).await;
    let mut json = job("{", 60);
    json.grammar = Grammar::JsonSchema(
        r#"{"type":"object","properties":{"a":{"type":"boolean"}},"required":["a"]}"#.into(),
    );
    let mut prompt = job(LONG, 0);
    prompt.prompt_logprobs = true;
    prompt.logprobs = Some(2);
    let mut penalised = job(LONG, 30);
    penalised.sampling.repeat_penalty = 1.3;
    penalised.sampling.logit_bias = vec![(5, 2.0)];
    for wanted in [json, prompt, penalised] {
        let expected = ask(&whole, wanted.clone()).await;
        let answer = ask(&ring.head, wanted).await;
        assert_eq!(answer.failed, None);
        assert_eq!(told(&answer), told(&expected));
        assert_eq!(answer.prompt.len(), expected.prompt.len());
        let near = |a: &TokenLogprob, b: &TokenLogprob| {
            let of = |l: &TokenLogprob| l.logprob.unwrap_or(0.0);
            a.token == b.token && (of(a) - of(b)).abs() < 0.1
        };
        assert!(
            answer
                .prompt
                .iter()
                .zip(&expected.prompt)
                .all(|(a, b)| near(a, b))
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bf16_and_q8_rows_answer_too() {
    for precision in [Precision::Bf16, Precision::Q8] {
        let ring = Ring::new(&[2], precision, None).await;
        let answer = ask(&ring.head, job(LONG, 10)).await;
        assert_eq!(answer.failed, None, "{precision:?}");
        assert_eq!(answer.finish.unwrap().2, 10);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_goes_on_over_the_next_ring() {
    let ring = Ring::new(&[2], Precision::F32, None).await;
    let undisturbed = ask(&ring.head, job(LONG, 60)).await;
    for lost_after in [1_u64, 7, 30] {
        let mut events = ring.head.generate(job(LONG, 60)).await.unwrap();
        let mut deltas = 0;
        let (copy, receiver) = mpsc::channel(1024);
        while let Some(event) = events.recv().await {
            deltas += u64::from(matches!(event, Event::Delta(_)));
            let is_last = matches!(event, Event::Finished { .. } | Event::Failed(_));
            copy.send(event).await.unwrap();
            if is_last {
                break;
            }
            if deltas == lost_after {
                deltas += 1;
                ring.head.tell(ToHead::Down).await.unwrap();
                ring.head.tell(ToHead::Up(2 + lost_after)).await.unwrap();
            }
        }
        drop(copy);
        let answer = collect(receiver).await;
        assert_eq!(told(&answer), told(&undisturbed), "lost after {lost_after}");
    }
}

/// Whatever a neighbour does to a payload, the ring is ended or a request is refused; nothing
/// hangs and nothing is answered wrongly.
#[tokio::test(flavor = "multi_thread")]
async fn broken_payloads_end_the_ring_with_a_cause() {
    let edits: [Edit; 3] = [
        ("came twice", |f| Forward {
            batch: f.batch.saturating_sub(1).max(1),
            ..f
        }),
        ("came twice", |f| Forward {
            batch: f.batch + 1,
            ..f
        }),
        ("numbers instead of", |mut f| {
            f.hidden.width /= 2;
            f.parts.iter_mut().for_each(|part| part.n *= 2);
            f.parts
                .iter_mut()
                .for_each(|part| part.wanted = crate::stage::Wanted::Nothing);
            f
        }),
    ];
    for (cause, edit) in edits {
        let fault: Fault = Box::new(move |stage, count, payload| {
            if stage != 1 || count != 4 {
                return Some(payload);
            }
            let forward = edit(Forward::decode(payload).unwrap());
            Some(forward.encode().unwrap())
        });
        let mut ring = Ring::new(&[2], Precision::F32, Some(fault)).await;
        let _events = ring.head.generate(job(LONG, 30)).await.unwrap();
        let told = tokio::time::timeout(PATIENCE, ring.broken.recv())
            .await
            .unwrap();
        assert!(told.as_ref().unwrap().contains(cause), "{told:?}");
    }
}

/// What arrives in pieces, or as something else, is no payload.
#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_payload_end_the_ring() {
    let edits: [fn(Bytes) -> Bytes; 3] = [
        |payload| payload.slice(..payload.len() / 2),
        |payload| payload.iter().map(|byte| byte ^ 0x5a).collect(),
        |_| Bytes::from_static(b"\xff"),
    ];
    for edit in edits {
        let fault: Fault = Box::new(move |stage, count, payload| match (stage, count) {
            (1, 4) => Some(edit(payload)),
            _ => Some(payload),
        });
        let mut ring = Ring::new(&[2], Precision::F32, Some(fault)).await;
        let _events = ring.head.generate(job(LONG, 30)).await.unwrap();
        let told = tokio::time::timeout(PATIENCE, ring.broken.recv()).await;
        assert!(told.unwrap().is_some());
    }
}

#[test]
fn a_stage_that_nobody_listens_to_is_dropped_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let source = crate::gguf::Model::open(moe().model).unwrap();
    let plan = Sliceable::of(&source.headers).unwrap().stage(0..2).unwrap();
    let file = cut(&source, plan, folder.path().join("slice.gguf"));
    let stage = SliceStage::load(&slice_config(file, Precision::F32), |_| true);
    let (stage, said) = stage.unwrap();
    let payloads = stage.payloads();
    // As many as are said and not read, one that cannot be said, and as many that wait.
    for _ in 0..=2 * MAX_IN_FLIGHT {
        payloads
            .blocking_send(Bytes::from_static(b"no payload"))
            .unwrap();
    }
    let (ended, end) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        drop(stage);
        ended.send(()).unwrap();
    });
    end.recv_timeout(PATIENCE).unwrap();
    drop((payloads, said));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_at_a_wrong_position_costs_its_own_session_only() {
    let fault: Fault = Box::new(|stage, _, payload| {
        if stage != 1 {
            return Some(payload);
        }
        let mut forward = Forward::decode(payload).unwrap();
        for part in &mut forward.parts {
            if part.keep_n > 90 && part.n == 1 {
                part.keep_n += 1;
            }
        }
        Some(forward.encode().unwrap())
    });
    let ring = Ring::new(&[2], Precision::F32, Some(fault)).await;
    let short = ring.head.generate(job("fn a() {", 30)).await.unwrap();
    let long = ring.head.generate(job(LONG, 60)).await.unwrap();
    let (short, long) = (collect(short).await, collect(long).await);
    assert_eq!(short.finish.unwrap().2, 30);
    assert!(long.failed.is_some(), "{:?}", long.finish);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_is_no_number_costs_its_own_session_only() {
    let fault: Fault = Box::new(|stage, _, payload| {
        if stage != 1 {
            return Some(payload);
        }
        let mut forward = Forward::decode(payload).unwrap();
        let poisoned = forward
            .parts
            .iter()
            .position(|part| part.keep_n > 90 && part.n == 1);
        if let Some(at) = poisoned {
            let row: usize = forward.parts[..at].iter().map(|part| part.n).sum();
            let mut bytes = forward.hidden.bytes.to_vec();
            let from = row * forward.hidden.width * 4;
            bytes[from..from + 4].copy_from_slice(&f32::NAN.to_le_bytes());
            forward.hidden.bytes = bytes.into();
        }
        Some(forward.encode().unwrap())
    });
    let ring = Ring::new(&[2], Precision::F32, Some(fault)).await;
    let short = ring.head.generate(job("fn a() {", 30)).await.unwrap();
    let long = ring.head.generate(job(LONG, 60)).await.unwrap();
    let (short, long) = (collect(short).await, collect(long).await);
    assert_eq!(short.finish.unwrap().2, 30);
    let failed = long.failed.unwrap().to_string();
    assert!(failed.contains("no number"), "{failed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outcome_that_cannot_be_ends_the_ring() {
    let mut ring = Ring::new(&[2], Precision::F32, None).await;
    let _events = ring.head.generate(job(LONG, 400)).await.unwrap();
    let forged = Back {
        ring: 1,
        batch: 77_777,
        ..Back::default()
    };
    let forged = ToHead::Back(forged.encode().unwrap());
    ring.head.tell(forged).await.unwrap();
    let told = tokio::time::timeout(PATIENCE, ring.broken.recv())
        .await
        .unwrap();
    assert!(told.unwrap().contains("another batch"));
}
