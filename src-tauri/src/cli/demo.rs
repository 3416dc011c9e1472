use std::net::SocketAddr;

use bizing_engine::app::wire::ChooseStart;
use bizing_engine::runtime::config::Config;

use crate::{Ended, http};

/// Without `once` it is the demo business to look at: the server, until somebody stops it. In a folder of its own, so that
/// it neither meets nor changes what the person has chosen for the desk.
pub fn run(mut config: Config, once: bool) -> Ended {
    if once {
        return super::once::run(config);
    }
    config.data = config.data.join("demo");
    config.database_url = None;
    http::run(
        config,
        SocketAddr::from(([127, 0, 0, 1], 0)),
        true,
        Some(ChooseStart::Explore),
    )
}
