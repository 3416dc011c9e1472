use std::net::SocketAddr;

use bizing_engine::runtime::config::Config;

use crate::{Ended, http};

/// Without `once` it is the demo business to look at: the server, until somebody stops it.
pub fn run(config: Config, once: bool) -> Ended {
    if once {
        return super::once::run(config);
    }
    http::run(config, SocketAddr::from(([127, 0, 0, 1], 0)), true)
}
