//! Many jobs at once, full queues, cancelling, stopping.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn many_jobs_at_once_answer_as_alone() {
    let engine = load(&moe());
    let prompts = [
        "fn main() {",
        "SELECT * FROM",
        "#include <",
        "La configuration",
        "12+7=",
        "{\"a\":",
    ];
    let mut alone = Vec::new();
    for prompt in prompts {
        alone.push(ask(&engine, job(prompt, 24)).await.text);
    }
    let mut streams = Vec::new();
    for prompt in prompts {
        streams.push(engine.generate(job(prompt, 24)).await.unwrap());
    }
    for (events, alone) in streams.into_iter().zip(alone) {
        assert_eq!(collect(events).await.text, alone);
    }
}
