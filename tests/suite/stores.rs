//! The kinds of store that a claim about the queue is tested on.

/// One suite, run over every kind of store.
macro_rules! on_every_store {
    ($($test:ident)*) => {
        on_store! { on_redis, crate::support::redis_settings(), $($test)* }
        on_store! { on_a_cluster, crate::topology::cluster_settings(), $($test)* }
        on_store! { on_a_cluster_in_one_slot, crate::topology::tagged_cluster_settings(), $($test)* }
        on_store! { in_memory, kiln::queue::StoreSettings::new("memory:"), $($test)* }
    };
}

macro_rules! on_store {
    ($module:ident, $settings:expr, $($test:ident)*) => {
        mod $module {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() -> anyhow::Result<()> {
                super::$test(kiln::queue::Store::open(&$settings).await?).await
            })*
        }
    };
}
