//! Standard input of a process that serves: its end is that of the process, and each line asks for the heap
//! in use.

use crate::{error::Result, heap};

/// Serves until standard input closes with the parent: nothing is left running behind it.
pub async fn until_stdin_ends(serving: impl Future<Output = Result<()>>) -> Result<()> {
    let (ended, end) = tokio::sync::oneshot::channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines() {
            match line {
                Ok(_) => println!("{}", heap::in_use()),
                Err(_) => break,
            }
        }
        let _ = ended.send(());
    });
    tokio::select! {
        served = serving => served,
        _ = end => Ok(()),
    }
}
