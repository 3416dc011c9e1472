//! Starts the programs in `tests/peers`.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use serde_json::Value;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn python(script: &str) -> Command {
    let python = root().join(".cache/peers/bin/python");
    assert!(
        python.exists(),
        "This test needs the peers. At the root of the repository run:\n  python3 -m venv .cache/peers && \
         .cache/peers/bin/pip install -r tests/peers/requirements.txt"
    );
    let mut command = Command::new(python);
    command
        .arg(root().join("tests/peers").join(script))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

/// A mail server. Dropping it closes its standard input, which ends it.
pub struct Sink {
    child: Child,
    lines: BufReader<ChildStdout>,
    pub port: u16,
    pub ca: Option<String>,
}

impl Sink {
    pub fn start(arguments: &[&str]) -> Sink {
        let mut child = python("smtp_sink.py").args(arguments).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let mut sink = Sink {
            child,
            lines,
            port: 0,
            ca: None,
        };
        let ready = sink.next();
        assert_eq!(ready["ready"], true, "{ready}");
        sink.port = u16::try_from(ready["port"].as_u64().unwrap()).unwrap();
        sink.ca = ready["ca"].as_str().map(str::to_owned);
        sink
    }

    /// The next message that was received in full.
    pub fn next(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("the sink said {line:?}"))
    }

    /// Ends the sink and gives back what it received besides what was read.
    pub fn rest(mut self) -> Vec<Value> {
        drop(self.child.stdin.take());
        self.lines
            .by_ref()
            .lines()
            .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
            .collect()
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        drop(self.child.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What another program reads in these calendar entries.
pub fn read_calendars(entries: &[String]) -> Vec<Value> {
    let mut child = python("ics_read.py").spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    let text: String = entries
        .iter()
        .map(|entry| serde_json::to_string(entry).unwrap() + "\n")
        .collect();
    let writer = std::thread::spawn(move || input.write_all(text.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    assert!(output.status.success());
    let read: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(read.len(), entries.len());
    read
}
