//! The lines by which the run commands and reads its processes.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::Value;

use crate::{cpu, error::Result};

/// Prints that the process serves.
pub fn ready() {
    println!("{}", Value::from("ready"));
}

/// Answers each line on standard input with a line of JSON, and ends the process with the last.
pub fn answer_lines(mut answer: impl FnMut(&str) -> Result<Value>) -> Result<()> {
    for line in std::io::stdin().lines() {
        println!("{}", answer(line?.trim())?);
    }
    // The other threads serve for ever.
    std::process::exit(0)
}

/// A process that answers lines. Dropping it ends the process.
pub struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Process {
    /// Starts a part with these arguments, and waits until it serves.
    pub fn start(part: &str, arguments: &[(&str, u64)]) -> Result<Self> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["scale-part", part]);
        for (name, value) in arguments {
            command.args([format!("--{name}"), value.to_string()]);
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        // Where memory is short, this process goes first.
        let _ = std::fs::write(format!("/proc/{}/oom_score_adj", child.id()), "1000");
        let output = child.stdout.take().ok_or("no standard output")?;
        let mut process = Self {
            input: child.stdin.take(),
            output: BufReader::new(output),
            child,
        };
        process.answer()?;
        Ok(process)
    }

    /// Sends a line, and returns the answer.
    pub fn ask(&mut self, line: &str) -> Result<Value> {
        writeln!(self.input.as_mut().ok_or("it has ended")?, "{line}")?;
        self.answer()
    }

    fn answer(&mut self) -> Result<Value> {
        let mut line = String::new();
        match self.output.read_line(&mut line)? {
            0 => Err("a process of the run has ended".into()),
            _ => Ok(serde_json::from_str(&line)?),
        }
    }

    /// CPU time so far, in nanoseconds.
    pub fn cpu(&self) -> u64 {
        cpu::nanoseconds(self.child.id()).unwrap_or_default()
    }

    /// Resident memory, in bytes.
    pub fn resident(&self) -> u64 {
        cpu::resident(self.child.id()).unwrap_or_default()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
