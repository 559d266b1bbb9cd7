//! What comes out of jobs: text, tokens, log-probabilities, formats, vectors.

use super::*;

#[tokio::test]
async fn a_prompt_is_answered() {
    let engine = load(&moe());
    let answer = ask(&engine, job("def main():\n", 24)).await;
    assert_eq!(answer.failed, None);
    assert_eq!(answer.tokens.len(), 24, "{answer:?}");
    assert_eq!(answer.finish, Some((FinishReason::Length, None, 24)));
    assert_eq!(
        engine.detokenize(answer.tokens.clone()).await.unwrap(),
        answer.text
    );
    assert!(answer.prompt_tokens > 3 && answer.cached_tokens == 0);
}

#[tokio::test]
async fn resuming_anywhere_gives_the_same_answer() {
    let engine = load(&moe());
    for temperature in [0.0, 0.8] {
        let mut job = job("Die Datei konnte nicht", 40);
        job.sampling.temperature = temperature;
        let whole = ask(&engine, job.clone()).await;
        for n in 0..=whole.deltas.len() {
            let rest = ask(&engine, resumed(job.clone(), &whole, n)).await;
            let tokens: Vec<u32> = whole.deltas[n..]
                .iter()
                .flat_map(|d| d.tokens.clone())
                .collect();
            let text: String = whole.deltas[n..].iter().map(|d| d.text.as_str()).collect();
            assert_eq!(rest.tokens, tokens, "after {n} at {temperature}");
            assert_eq!(rest.text, text);
            assert_eq!(rest.finish, whole.finish);
        }
    }
}
