use std::sync::Mutex;

use tokio::sync::mpsc;

use super::*;
use crate::{
    observe::{MembershipChange, Observer, UpstreamInfo},
    pool::Pool,
    upstream::discovery::{DiscoverFuture, MergeSources, StaticSource, testing::upstreams},
};

const SOON: Duration = Duration::from_secs(5);

/// Source that yields what the test sends, failures included; `_held` is dropped with it.
#[derive(Debug)]
struct Scripted {
    script: mpsc::UnboundedReceiver<Result<Vec<Upstream>, DiscoverError>>,
    _held: mpsc::Sender<()>,
}

type SetSender = mpsc::UnboundedSender<Result<Vec<Upstream>, DiscoverError>>;

impl Discover for Scripted {
    fn discover(&mut self) -> DiscoverFuture<'_> {
        Box::pin(self.script.recv())
    }
}

/// Returns a source, the sender of its sets, and a receiver that ends when the source is dropped.
fn scripted() -> (Scripted, SetSender, mpsc::Receiver<()>) {
    let (sets, script) = mpsc::unbounded_channel();
    let (held, dropped) = mpsc::channel(1);
    let source = Scripted {
        script,
        _held: held,
    };
    (source, sets, dropped)
}

fn names(pool: &Pool) -> Vec<String> {
    pool.snapshot()
        .iter()
        .map(|upstream| upstream.name.to_string())
        .collect()
}

/// Lets the follower run until it waits for the next set.
async fn settle() {
    sleep(MIN_SET_INTERVAL * 2).await;
}

#[tokio::test(start_paused = true)]
async fn each_set_replaces_the_last_and_an_empty_one_empties() {
    let pool = Pool::from_upstreams(upstreams(&["seed"])).build();
    let (source, sets, _) = scripted();
    let follow = pool.follow(source);
    settle().await;
    assert_eq!(names(&pool), ["seed:80"], "there was no set yet");
    for set in [&["a"][..], &["a", "b"], &[], &["b"]] {
        sets.send(Ok(upstreams(set))).unwrap();
        settle().await;
        let expected: Vec<_> = set.iter().map(|host| format!("{host}:80")).collect();
        assert_eq!(names(&pool), expected);
    }
    assert!(!follow.is_over());
}

#[tokio::test(start_paused = true)]
async fn the_state_of_an_upstream_survives_a_set_without_it() {
    let pool = Pool::from_upstreams([]).build();
    let (source, sets, _) = scripted();
    let _follow = pool.follow(source);
    sets.send(Ok(upstreams(&["a", "b"]))).unwrap();
    settle().await;
    let member = |pool: &Pool| Arc::clone(&pool.state.member_set().members()[0]);
    member(&pool).sample_latency(Duration::from_millis(7), Instant::now());
    sets.send(Ok(upstreams(&["b"]))).unwrap();
    settle().await;
    assert_eq!(member(&pool).latency(), None);
    sets.send(Ok(upstreams(&["a", "b"]))).unwrap();
    settle().await;
    assert_eq!(member(&pool).latency(), Some(Duration::from_millis(7)));
}

#[tokio::test(start_paused = true)]
async fn an_identical_set_changes_nothing() {
    let pool = Pool::from_upstreams(upstreams(&["a", "b"])).build();
    let before = pool.state.member_set();
    let follow = pool.follow(StaticSource::new(upstreams(&["a", "b"])));
    follow.ready(SOON).await.unwrap();
    assert!(Arc::ptr_eq(&before, &pool.state.member_set()));
}

#[tokio::test(start_paused = true)]
async fn a_change_of_order_is_an_edit_only_where_order_means_something() {
    let pool = Pool::from_upstreams(upstreams(&["a", "b"])).build();
    let before = pool.state.member_set();
    let (source, sets, _) = scripted();
    let _follow = pool.follow(source);
    sets.send(Ok(upstreams(&["b", "a"]))).unwrap();
    settle().await;
    assert!(Arc::ptr_eq(&before, &pool.state.member_set()));
    assert!(!pool.replace(upstreams(&["b", "a"])));
    assert_eq!(names(&pool), ["a:80", "b:80"]);

    let (source, sets, _) = scripted();
    let merged = MergeSources::new().source(source.in_order());
    let _follow = pool.follow(merged.each(|upstream| upstream));
    sets.send(Ok(upstreams(&["b", "a"]))).unwrap();
    settle().await;
    assert_eq!(names(&pool), ["b:80", "a:80"]);
    assert!(pool.replace_in_order(upstreams(&["a", "b"])));
    assert!(!pool.replace_in_order(upstreams(&["a", "b"])));
}

/// Source that always has a set at hand, another one each time.
#[derive(Debug)]
struct AlwaysReady(Arc<Mutex<u32>>);

impl Discover for AlwaysReady {
    fn discover(&mut self) -> DiscoverFuture<'_> {
        let mut sets = self.0.lock().unwrap();
        *sets += 1;
        let set = vec![upstreams(&["a"]).remove(0).weight(*sets)];
        Box::pin(async { Some(Ok(set)) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_is_always_ready_does_not_spin() {
    let pool = Pool::from_upstreams([]).build();
    let sets = Arc::new(Mutex::new(0));
    let _follow = pool.follow(AlwaysReady(Arc::clone(&sets)));
    sleep(Duration::from_secs(10)).await;
    let sets = *sets.lock().unwrap();
    assert!((900..=1001).contains(&sets), "{sets}");
}

#[derive(Debug, Default)]
struct FailureLog(Mutex<Vec<String>>);

impl Observer for FailureLog {
    fn discovery_failed(&self, _: Option<&str>, error: &DiscoverError) {
        self.0.lock().unwrap().push(error.to_string());
    }
}

#[tokio::test(start_paused = true)]
async fn failures_are_shown_and_empty_nothing() {
    let pool = Pool::from_upstreams(upstreams(&["a"])).build();
    let heard = Arc::new(FailureLog::default());
    let observer: Arc<dyn Observer> = Arc::clone(&heard) as _;
    pool.attach_observer(&observer);
    let (source, sets, _) = scripted();
    let follow = pool.follow(source);
    for word in ["first", "second"] {
        sets.send(Err(DiscoverError::failed(word))).unwrap();
    }
    let error = follow.ready(SOON).await.unwrap_err();
    assert_eq!(error.to_string(), "second");
    assert_eq!(names(&pool), ["a:80"]);
    assert_eq!(*heard.0.lock().unwrap(), ["first", "second"]);
    assert_eq!(follow.status().failures, 2);
    sets.send(Ok(upstreams(&["b"]))).unwrap();
    follow.ready(SOON).await.unwrap();
    let status = follow.status();
    assert_eq!(status.failures, 0);
    assert!(status.last_failure.is_none() && status.found_at.is_some());
}

/// Source that fails immediately on each call.
#[derive(Debug)]
struct AlwaysFailing(Arc<Mutex<u32>>);

impl Discover for AlwaysFailing {
    fn discover(&mut self) -> DiscoverFuture<'_> {
        *self.0.lock().unwrap() += 1;
        Box::pin(async { Some(Err(DiscoverError::failed("no"))) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_fails_at_once_is_delayed() {
    let pool = Pool::from_upstreams([]).build();
    let asked = Arc::new(Mutex::new(0));
    let _follow = pool.follow(AlwaysFailing(Arc::clone(&asked)));
    sleep(Duration::from_secs(10)).await;
    let asked = *asked.lock().unwrap();
    assert!((90..=110).contains(&asked), "{asked}");
}

/// Source that panics in the call, then in the future, then yields a set.
#[derive(Debug, Default)]
struct Panicking(u32);

impl Discover for Panicking {
    fn discover(&mut self) -> DiscoverFuture<'_> {
        self.0 += 1;
        let asked = self.0;
        assert_ne!(asked, 1, "it fell");
        Box::pin(async move {
            assert_ne!(asked, 2, "it fell again");
            match asked {
                3 => Some(Ok(upstreams(&["a"]))),
                _ => std::future::pending().await,
            }
        })
    }
}

impl Observer for Panicking {
    fn discovery_failed(&self, _: Option<&str>, _: &DiscoverError) {
        panic!("dropped it");
    }

    fn upstream_changed(&self, _: &UpstreamInfo<'_>, _: MembershipChange) {
        panic!("dropped it");
    }
}

#[tokio::test(start_paused = true)]
async fn panics_of_a_source_or_an_observer_do_not_end_the_task() {
    let pool = Pool::from_upstreams([]).build();
    let observer: Arc<dyn Observer> = Arc::new(Panicking::default());
    pool.attach_observer(&observer);
    let follow = pool.follow(Panicking::default());
    sleep(MIN_RETRY_DELAY / 2).await;
    let status = follow.status();
    assert_eq!(status.failures, 1);
    let said = status.last_failure.unwrap().to_string();
    assert_eq!(said, "the source panicked");
    sleep(MIN_RETRY_DELAY * 3).await;
    assert_eq!(names(&pool), ["a:80"]);
    assert!(follow.status().found_at.is_some());
    assert!(!follow.is_over());
}

#[tokio::test(start_paused = true)]
async fn ready_fails_when_no_set_comes() {
    let (source, sets, _) = scripted();
    let pool = Pool::from_upstreams([]).build();
    let follow = pool.follow(source);
    let error = follow.ready(SOON).await.unwrap_err();
    assert_eq!(error.to_string(), "no response within 5s");
    drop(sets);
    let error = follow.ready(SOON).await.unwrap_err();
    assert!(matches!(error, DiscoverError::Ended), "{error}");
    assert!(follow.is_over());
}

#[tokio::test(start_paused = true)]
async fn a_source_that_has_ended_leaves_the_last_set() {
    let pool = Pool::from_upstreams([]).build();
    let follow = pool.follow(StaticSource::new(upstreams(&["a"])));
    follow.ready(SOON).await.unwrap();
    settle().await;
    assert!(follow.is_over());
    follow.ready(SOON).await.unwrap();
    assert_eq!(names(&pool), ["a:80"]);
}

#[tokio::test(start_paused = true)]
async fn the_task_ends_with_the_guard() {
    let pool = Pool::from_upstreams([]).build();
    let (source, sets, mut dropped) = scripted();
    let follow = pool.follow(source);
    sets.send(Ok(upstreams(&["a"]))).unwrap();
    follow.ready(SOON).await.unwrap();
    drop(follow);
    assert_eq!(dropped.recv().await, None, "the source was dropped");
    assert_eq!(names(&pool), ["a:80"]);
}

#[tokio::test(start_paused = true)]
async fn detached_it_goes_on_until_the_pool_is_gone() {
    let pool = Pool::from_upstreams([]).build();
    let (source, sets, mut dropped) = scripted();
    pool.follow(source).detach();
    sets.send(Ok(upstreams(&["a"]))).unwrap();
    settle().await;
    assert_eq!(names(&pool), ["a:80"]);
    let clone = pool.clone();
    drop(pool);
    settle().await;
    assert!(
        dropped
            .try_recv()
            .is_err_and(|e| e == mpsc::error::TryRecvError::Empty)
    );
    drop(clone);
    assert_eq!(dropped.recv().await, None, "the source was dropped");
}

#[tokio::test(start_paused = true)]
async fn the_pool_is_not_kept_alive_by_a_pause_after_a_failure() {
    let pool = Pool::from_upstreams([]).build();
    let (source, sets, mut dropped) = scripted();
    let follow = pool.follow(source);
    sets.send(Err(DiscoverError::failed("no"))).unwrap();
    settle().await;
    let began = Instant::now();
    drop(pool);
    assert_eq!(dropped.recv().await, None);
    assert_eq!(began.elapsed(), Duration::ZERO);
    assert!(follow.is_over());
}
