//! treecast's control plane: config, node daemon, API, metrics, lab, simulation and the command line.

#![forbid(unsafe_code)]

pub mod api;
pub mod bench;
pub mod cli;
pub mod config;
pub mod lab;
pub mod metrics;
pub mod node;
pub mod probe;
pub mod show;
pub mod sim;

pub use cli::main;
