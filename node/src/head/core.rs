//! The head's decisions, pure: templates, tools, schemas, the reading of answers, defaults.
//!
//! Nothing here knows engines, channels or clocks: text and JSON come in, plans and pieces of an
//! answer go out.

pub mod answer;
pub mod caps;
pub mod failure;
pub mod format;
pub mod measure;
pub mod messages;
pub mod prompt;
pub mod sampling;
pub mod schema;
pub mod session;
pub mod template;
pub mod tools;
