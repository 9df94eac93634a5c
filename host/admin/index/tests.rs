//! The index beside lists that others change.

use super::*;
use crate::admin::failed::{self, Act, Choice};
use crate::queue::StoreSettings;

async fn store() -> Store {
    Store::open(&StoreSettings::new("memory:")).await.unwrap()
}

#[test]
fn a_time_falls_into_the_part_that_it_is_of() {
    let hour = Duration::from_hours(1);
    let now = 10_000_000;
    assert_eq!(part(now, hour, now), Some(PARTS - 1));
    assert_eq!(part(now, hour, now + 5_000), Some(PARTS - 1), "a clock that is ahead");
    assert_eq!(part(now, hour, now - 3_600_000), Some(0));
    assert_eq!(part(now, hour, now - 3_600_001), None);
    assert_eq!(part(now, Duration::ZERO, now), None);
}

#[tokio::test]
async fn an_index_of_an_empty_list_is_complete() {
    let index = FailedIndex::new(store().await);
    assert!(index.coverage().building);
    index.follow(Duration::from_secs(1)).await.unwrap();
    let coverage = index.coverage();
    assert_eq!((coverage.len, coverage.indexed, coverage.building), (0, 0, false));
    let choice = Choice::Matching(Filter::default());
    let worked = failed::work_gently(&index.store, &choice, &Act::Delete, |_, _| {
        std::ops::ControlFlow::Continue(())
    })
    .await;
    assert_eq!(worked.unwrap().done, 0);
}
