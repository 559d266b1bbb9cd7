//! A pull drawn on the terminal. It draws what the events say and prints nothing by itself.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use web::manage::PullEvent;

const BYTES: &str = "{msg} {bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
const WAITING: &str = "{spinner} {msg}";

/// The bar of one pull.
#[derive(Debug)]
pub struct PullBar {
    bar: ProgressBar,
    resumed: bool,
}

impl PullBar {
    /// A bar for a pull of this name, drawn on standard error if that is a terminal.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self::drawn_to(name, ProgressDrawTarget::stderr())
    }

    /// A bar that is drawn elsewhere.
    #[must_use]
    pub fn drawn_to(name: &str, target: ProgressDrawTarget) -> Self {
        let bar = ProgressBar::with_draw_target(Some(0), target);
        bar.set_style(style(WAITING));
        bar.set_message(format!("{name}: asking what there is"));
        Self {
            bar,
            resumed: false,
        }
    }

    /// Shows an event.
    pub fn show(&mut self, event: &PullEvent) {
        match event {
            PullEvent::Resolved {
                name, total_bytes, ..
            } => {
                self.bar.set_style(style(BYTES));
                self.bar.set_length(*total_bytes);
                self.bar.set_message(name.clone());
            }
            PullEvent::Progress {
                done_bytes,
                total_bytes,
            } => self.move_to(*done_bytes, *total_bytes),
            PullEvent::Verifying => self.bar.set_message("verifying"),
            PullEvent::Done { .. } | PullEvent::Failed { .. } => self.bar.finish_and_clear(),
        }
    }

    /// The first position may be an earlier attempt's: it is no speed.
    fn move_to(&mut self, done: u64, total: u64) {
        self.bar.set_length(total);
        self.bar.set_position(done);
        if !self.resumed {
            self.resumed = true;
            self.bar.reset_eta();
        }
    }
}

impl Drop for PullBar {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("a test draws with both templates")
}

#[cfg(test)]
mod tests {
    use web::manage::StoredModel;

    use super::*;

    #[test]
    fn a_pull_is_drawn_from_its_events() {
        let mut bar = PullBar::drawn_to("m", ProgressDrawTarget::hidden());
        assert_eq!(bar.bar.message(), "m: asking what there is");
        let (files, total_bytes) = (1, 1000);
        let name = "a/m:Q4_0".to_owned();
        bar.show(&PullEvent::Resolved {
            name: name.clone(),
            files,
            total_bytes,
        });
        bar.show(&PullEvent::Progress {
            done_bytes: 500,
            total_bytes,
        });
        assert_eq!((bar.bar.message(), bar.bar.position()), (name, 500));
        bar.show(&PullEvent::Verifying);
        assert_eq!(bar.bar.message(), "verifying");
        let model = StoredModel {
            name: String::new(),
            size_bytes: 0,
            architecture: String::new(),
            quantization: String::new(),
            context_length: 0,
            added: 0,
            external_path: None,
        };
        bar.show(&PullEvent::Done { model });
        assert!(bar.bar.is_finished());
    }
}
