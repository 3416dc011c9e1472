use std::net::SocketAddr;

use bizing_engine::runtime::config::Config;

use crate::{Ended, Failed, http};

/// Without `once` it is the demo business to look at: the server, until somebody stops it.
pub fn run(config: Config, once: bool) -> Ended {
    if once {
        return self::once(config);
    }
    http::run(config, SocketAddr::from(([127, 0, 0, 1], 0)), true)
}

/// One booking from start to end, printed as it happens.
fn once(_config: Config) -> Ended {
    Err(Failed::Run(
        "This version has no single run yet.".to_owned(),
    ))
}
