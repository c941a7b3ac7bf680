//! End to end.

// All of it is tests, the functions that they share as well.
#![allow(clippy::unwrap_used)]

// What the tests stand on: a daemon on a ring, and labs.
mod daemon;
mod lab;

// A stream through a lossy tree: what clients get, where repairs come from, what changes under way.
mod changes;
mod delivery;
mod families;
mod hops;
mod links;
mod modes;
mod programs;
mod stages;
mod stopping;
// Labs themselves: up, down, and nothing left.
mod labs;
// Trees in virtual time.
mod simulation;

// One node: its API and life, the sample files, and what it withstands.
mod deploy;
mod exhaustion;
mod hostile;
mod kernel;
mod node;
