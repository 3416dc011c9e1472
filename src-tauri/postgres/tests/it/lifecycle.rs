//! Start, join, stop.

use crate::support::{ask, folder, start};

#[tokio::test]
async fn a_first_start_makes_a_cluster_with_checksums_and_a_second_one_finds_it() {
    let folder = folder();
    let t = std::time::Instant::now();
    let cluster = start(folder.path()).await.unwrap();
    eprintln!("first {:?}", t.elapsed());
    assert!(cluster.is_owner() && cluster.is_alive().await);
    assert_eq!(ask(&cluster, "show data_checksums").await, "on");
    let t = std::time::Instant::now();
    let j = start(folder.path()).await.unwrap();
    eprintln!("join {:?}", t.elapsed());
    assert!(!j.is_owner());
    let t = std::time::Instant::now();
    cluster.stop().await.unwrap();
    eprintln!("stop {:?}", t.elapsed());
    let t = std::time::Instant::now();
    let cluster = start(folder.path()).await.unwrap();
    eprintln!("warm {:?}", t.elapsed());
    assert!(cluster.is_owner());
}
