//! Followers and the download that they share, in paused time.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::core::record::Source;
use super::*;

fn record() -> Record {
    Record {
        name: "m".into(),
        source: Source::Url {
            url: "http://h/m.gguf".into(),
        },
        files: Vec::new(),
        architecture: String::new(),
        quantization: String::new(),
        context_length: 0,
        added: 0,
        last_used: 0,
    }
}

async fn heard(state: watch::Receiver<State>) -> (Result<Record, PullError>, Vec<PullEvent>) {
    let (sender, mut events) = mpsc::channel(100);
    let ended = follow(state, 100, &sender).await;
    drop(sender);
    let mut all = Vec::new();
    while let Some(event) = events.recv().await {
        all.push(event);
    }
    (ended, all)
}

#[tokio::test(start_paused = true)]
async fn events_come_at_most_ten_times_a_second_and_the_last_is_not_missed() {
    let flights = Arc::new(Flights::default());
    let state = flights.join("f", 100, |reporter| async move {
        for done in 1..=100 {
            sleep(Duration::from_millis(10)).await;
            reporter.send_modify(|state| state.done_bytes = done);
        }
        reporter.send_modify(|state| state.verifying = true);
        Ok(record())
    });
    let (ended, events) = heard(state).await;
    assert_eq!(ended.unwrap(), record());
    assert!((5..=13).contains(&events.len()), "{events:?}");
    let (done_bytes, total_bytes) = (100, 100);
    assert!(events.contains(&PullEvent::Progress {
        done_bytes,
        total_bytes
    }));
    assert_eq!(events.last(), Some(&PullEvent::Verifying));
    assert!(flights.pledged().is_empty());
}

#[tokio::test(start_paused = true)]
async fn one_task_serves_all_and_ends_with_the_last_of_them() {
    let flights = Arc::new(Flights::default());
    let begun = Arc::new(AtomicUsize::new(0));
    let join = || {
        let begun = begun.clone();
        flights.join("f", 7, move |_reporter| async move {
            begun.fetch_add(1, Ordering::SeqCst);
            std::future::pending().await
        })
    };
    let (one, two) = (join(), join());
    drop(one);
    sleep(REPORT_EVERY).await;
    assert_eq!(begun.load(Ordering::SeqCst), 1);
    assert_eq!(flights.pledged().len(), 1, "one still follows");
    drop(two);
    sleep(REPORT_EVERY).await;
    assert!(flights.pledged().is_empty(), "nobody follows");
    let _three = join();
    sleep(REPORT_EVERY).await;
    assert_eq!(begun.load(Ordering::SeqCst), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failure_a_stop_and_a_panic_all_reach_the_follower() {
    let flights = Arc::new(Flights::default());
    let failing = flights.join("a", 1, |_reporter| async { Err(PullError::Offline) });
    let (ended, _) = heard(failing).await;
    assert!(ended.unwrap_err().to_string().contains("offline"));
    let panicking = flights.join("b", 1, |_reporter| async { panic!("a test's panic") });
    assert!(matches!(heard(panicking).await.0, Err(PullError::Ended)));
    let stopped = flights.join("c", 1, |_reporter| std::future::pending());
    flights.stop();
    assert!(matches!(heard(stopped).await.0, Err(PullError::Ended)));
    assert!(flights.pledged().is_empty());
}
