//! The model store's decisions: what a name means, which files of a listing make up a model,
//! how a transfer goes on after each answer, whether there is room, which record a request means.
//! Plain data in and out; it knows no disk, no network and no clock.

pub mod catalog;
pub mod choose;
pub mod digest;
pub mod listing;
pub mod name;
pub mod path;
pub mod plan;
pub mod record;
pub mod room;
pub mod table;
pub mod transfer;
