//! Encoders: models that embed text and write none, as random weights in a file made here.

use super::*;
use crate::gguf::specimen::{Pooled, tiny_bert};

/// Tokens of the specimen's longest text, those around it included.
const LONGEST: usize = 64;

fn encoder(pooled: Pooled) -> Result<LocalEngine, LoadError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    tiny_bert(pooled).save(file.path()).unwrap();
    let config = LocalConfig {
        threads: Some(1),
        ..LocalConfig::new(file.path())
    };
    LocalEngine::load(&config, |_| true)
}

fn text(text: &str) -> Prompt {
    Prompt::Text {
        text: text.into(),
        parse_special: false,
    }
}

async fn vectors(engine: &LocalEngine, texts: &[&str]) -> Vec<Vec<f32>> {
    let inputs = texts.iter().map(|t| text(t)).collect();
    engine.embed(inputs).await.unwrap().0
}

/// The cosine of two vectors of length 1.
fn cosine(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(x, y)| x * y).sum()
}

#[tokio::test]
async fn an_encoder_embeds_and_does_not_write() {
    let engine = encoder(Pooled::Mean).unwrap();
    let info = engine.info();
    assert!(info.embeddings && !info.infill);
    assert_eq!((info.embedding_length, info.context_length), (32, 64));
    assert_eq!(Engine::load(&engine).kv_total, 0, "it has no cache");
    let refused = engine.generate(job("shoal", 3)).await.map(|_| ());
    let Err(JobError::Unsupported(why)) = refused else {
        panic!("{refused:?}");
    };
    assert!(why.contains("embed"), "{why}");
    assert_eq!(engine.info().parallel, 16);
    Engine::drain(&engine, PATIENCE).await;
    assert_eq!(
        engine.embed(vec![text("shoal")]).await,
        Err(JobError::Stopping)
    );
}

#[tokio::test]
async fn an_encoders_vectors_are_of_their_text_and_of_length_1() {
    for pooled in [Pooled::None, Pooled::Mean, Pooled::First, Pooled::Last] {
        let engine = encoder(pooled).unwrap();
        let texts = ["shoal", "fish swim", "fishing in sea water", "swim fish"];
        let together = vectors(&engine, &texts).await;
        for (i, vector) in together.iter().enumerate() {
            assert_eq!(vector.len(), 32);
            assert!((cosine(vector, vector) - 1.0).abs() < 1e-5, "{pooled:?}");
            assert_eq!(&vectors(&engine, &texts[i..=i]).await[0], vector);
            for other in &together[..i] {
                assert!(cosine(vector, other) < 0.9999, "{pooled:?}, text {i}");
            }
        }
        // Lower case and spaces are the tokenizer's business: here nothing else differs.
        let same = vectors(&engine, &["fish swim", "  Fish   SWIM "]).await;
        assert_eq!(same[0], same[1], "{pooled:?}");
    }
}

#[tokio::test]
async fn the_file_says_how_vectors_are_pooled() {
    let texts = ["the shoal swims", "sea", "water water water fish"];
    let mut by_method = Vec::new();
    for pooled in [Pooled::Mean, Pooled::First, Pooled::Last, Pooled::None] {
        by_method.push(vectors(&encoder(pooled).unwrap(), &texts).await);
    }
    let [mean, first, last, none] = &by_method[..] else {
        unreachable!("four methods");
    };
    for i in 0..texts.len() {
        for (a, b) in [(mean, first), (mean, last), (first, last)] {
            assert!(cosine(&a[i], &b[i]) < 0.999, "{}", texts[i]);
        }
        // A file that names no method gets the mean, which is ours there.
        assert!(cosine(&mean[i], &none[i]) > 0.99999, "{}", texts[i]);
    }
    // Between begin and end only positions tell these apart, so the token looks at all of them.
    let engine = encoder(Pooled::First).unwrap();
    let words = vectors(&engine, &["fish sea", "fish water"]).await;
    assert!(cosine(&words[0], &words[1]) < 0.99999);
}

#[tokio::test]
async fn texts_beyond_an_encoders_positions_are_refused() {
    for pooled in [Pooled::Mean, Pooled::None] {
        let engine = encoder(pooled).unwrap();
        // Each letter is a token, and there are two around them.
        let longest = "a ".repeat(LONGEST - 2);
        let (vector, tokens) = engine.embed(vec![text(&longest)]).await.unwrap();
        assert_eq!((vector.len(), tokens), (1, 64));
        let beyond = "a ".repeat(LONGEST - 1);
        let refused = JobError::ContextLengthExceeded {
            prompt_tokens: 65,
            context_length: 64,
        };
        let answer = engine.embed(vec![text("a"), text(&beyond)]).await;
        assert_eq!(answer, Err(refused));
        // It goes on.
        assert_eq!(vectors(&engine, &["a"]).await.len(), 1);
    }
}

#[tokio::test]
async fn a_reranker_is_refused_with_the_reason() {
    let refused = encoder(Pooled::Rank).map(|_| ());
    let Err(LoadError::Unsupported(why)) = refused else {
        panic!("{refused:?}");
    };
    assert!(why.contains("rerankers"), "{why}");
}
