//! Many tunnels, opened and kept at once: the cost of each as their number grows, and which resource
//! fails first.
//!
//! Three processes: `clients`, the `proxy` with one registry for all of its threads, and `upstreams`.
//! * `run` starts them, opens the tunnels step by step, measures, and drains them in the end;
//! * `far` is a thread of either far end: readiness, and eight bytes for each connection;
//! * `descriptors` lets a thread have a table of files of its own, where a process may not have enough;
//! * `addresses` spreads the connections over enough pairs of addresses;
//! * `memory` reads the kernel's account;
//! * `part` names the processes, and `child` has the lines between them and the run.

mod addresses;
mod child;
mod clients;
mod descriptors;
mod far;
mod memory;
mod part;
mod proxy;
mod run;
mod upstreams;

pub use part::Part;
pub use run::{Options, run};
