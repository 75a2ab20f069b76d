//! The integration tests: one binary that runs the real `pullet` from outside, against registries that it starts itself.
//!
//! Nothing here imports the library: what a user cannot see is not tested here. Each file is one topic, and its cases are data.
// A test fails by panicking and may print. Modules share helpers by `pub`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    unreachable_pub,
    reason = "this crate is tests only"
)]

mod acl;
mod artifact;
mod auth;
mod boot;
mod bounds;
mod budget;
mod bundle;
mod cat;
mod cli;
mod clock;
mod commands;
mod completion;
mod config;
mod contact;
mod credential_forms;
mod credentials;
mod descriptor;
mod device;
mod disk;
mod documents;
mod early;
mod events;
mod first_bytes;
mod foreign;
mod format;
mod hardening;
mod headers;
mod help;
mod hostile;
mod ignored;
mod import;
mod in_place;
mod jobs;
mod large;
mod layered;
mod layered_forms;
mod limits;
mod load;
mod load_refused;
mod login;
mod lookup;
mod malformed;
mod manage;
mod manual;
mod many;
mod mend;
mod merge;
mod metadata;
mod mirrors;
mod names;
mod odd_layers;
mod openat2;
mod owner;
mod pages;
mod ping;
mod platform;
mod policy;
mod proxy;
mod real;
mod redirect;
mod releases;
mod requests;
mod responses;
mod retry;
mod sandbox;
mod save;
mod schema1;
mod screens;
mod shapes;
mod signals;
mod signatures;
mod store;
mod stream;
mod system_calls;
mod tls;
mod tokens;
mod unpack;
mod user;
mod verify;
mod versions;
mod view;
mod watch;
mod whiteout;
