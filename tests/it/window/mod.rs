//! A person's jobs in the real window: the Tauri app under a virtual display, driven through WebKit's own WebDriver.
//! Needs a display and a binary with the UI inside: `make test-window`.

mod books;
mod colleagues;
mod decides;
mod hands;
mod leaves;
mod rebuilds;
mod sends;
