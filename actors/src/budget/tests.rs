use futures_util::FutureExt;

use super::*;
use crate::error::FetchError;

/// Of 1600 bytes: bodies 400, of which 300 before they are read; pixels 1200.
const LIMIT: u64 = 1600;

/// Credit that was given at once.
fn body(budget: &ByteBudget, bytes: u64) -> ImageCredit {
    let mut credit = budget.credit();
    let reserved = credit.reserve(bytes).now_or_never();
    reserved.expect("at once").expect("below the limit");
    credit
}

/// The same with pixels.
fn picture(budget: &ByteBudget, pixels: u64) -> ImageCredit {
    let mut credit = body(budget, 1);
    let reserved = credit.reserve_pixels(pixels).now_or_never();
    reserved.expect("at once").expect("below the limit");
    credit.keep_pixels(pixels);
    credit
}

macro_rules! waits {
    ($future:expr) => {
        assert!((&mut $future).now_or_never().is_none(), "it does not wait")
    };
}

macro_rules! goes {
    ($future:expr) => {
        (&mut $future)
            .now_or_never()
            .expect("at once")
            .expect("fits")
    };
}

#[test]
fn a_reservation_waits_until_bytes_come_back() {
    let budget = ByteBudget::new(LIMIT);
    let mut first = body(&budget, 250);
    let mut second = budget.credit();
    {
        let mut waiting = Box::pin(second.reserve(100));
        waits!(waiting);
        first.release();
        goes!(waiting);
    }
    assert_eq!((budget.used(), budget.most_used()), (100, 250));
    drop(second);
    assert_eq!(budget.used(), 0);
}

#[test]
fn bodies_leave_room_for_growth_and_for_pixels() {
    let budget = ByteBudget::new(LIMIT);
    let mut held = body(&budget, 300);
    let mut credit = budget.credit();
    let mut waiting = Box::pin(credit.reserve(1));
    waits!(waiting);
    held.resize(299).expect("smaller");
    goes!(waiting);
    picture_of(&mut held, 1200);
    assert_eq!(budget.used(), 1 + 299 + 1200);
}

fn picture_of(credit: &mut ImageCredit, pixels: u64) {
    let reserved = credit.reserve_pixels(pixels).now_or_never();
    reserved.expect("at once").expect("below the limit");
}

#[test]
fn growing_never_waits_and_is_refused_where_there_is_no_room() {
    let budget = ByteBudget::new(LIMIT);
    let (mut one, mut two) = (body(&budget, 100), body(&budget, 100));
    one.resize(300).expect("the share for growth");
    let refused = two.resize(101);
    assert!(
        matches!(refused, Err(FetchError::NoRoom { bytes: 101 })),
        "{refused:?}"
    );
    assert_eq!((two.held(), budget.used()), (100, 400));
    // Alone a body may have all of it.
    two.release();
    one.resize(LIMIT).expect("alone");
    let refused = one.resize(LIMIT + 1);
    assert!(
        matches!(refused, Err(FetchError::TooLarge { .. })),
        "{refused:?}"
    );
}

#[test]
fn one_image_above_the_whole_budget_is_too_large() {
    let budget = ByteBudget::new(100);
    let mut credit = budget.credit();
    let answer = credit.reserve(101).now_or_never().expect("answers at once");
    assert!(matches!(
        answer,
        Err(FetchError::TooLarge {
            got: 101,
            limit: 100
        })
    ));
    let mut credit = body(&budget, 20);
    let answer = credit
        .reserve_pixels(81)
        .now_or_never()
        .expect("answers at once");
    assert!(matches!(
        answer,
        Err(FetchError::TooLarge {
            got: 101,
            limit: 100
        })
    ));
}

#[test]
fn what_models_hold_is_taken_out_of_the_limit() {
    let budget = ByteBudget::new(LIMIT + 400);
    budget.set_aside(400);
    let mut credit = budget.credit();
    assert_eq!(credit.limit(), LIMIT);
    let answer = credit
        .reserve(LIMIT + 1)
        .now_or_never()
        .expect("answers at once");
    assert!(matches!(
        answer,
        Err(FetchError::TooLarge { limit: LIMIT, .. })
    ));
}

#[test]
fn a_large_body_is_not_overtaken_by_small_ones() {
    let budget = ByteBudget::new(LIMIT);
    let mut held = body(&budget, 50);
    let (mut large, mut small) = (budget.credit(), budget.credit());
    let mut large = Box::pin(large.reserve(1000));
    waits!(large);
    let mut small = Box::pin(small.reserve(10));
    waits!(small);
    held.release();
    goes!(large);
    waits!(small);
}

#[test]
fn pixels_wait_their_turn_and_hold_nothing_but_their_body() {
    let budget = ByteBudget::new(LIMIT);
    let first = picture(&budget, 900);
    let (mut second, mut third) = (body(&budget, 10), body(&budget, 10));
    let mut large = Box::pin(second.reserve_pixels(500));
    waits!(large);
    let mut small = Box::pin(third.reserve_pixels(100));
    waits!(small);
    assert_eq!(budget.used(), 920);
    drop(first);
    goes!(large);
    goes!(small);
    assert!(budget.most_used() <= LIMIT);
}

#[test]
fn a_picture_above_the_share_of_pixels_goes_alone_and_no_body_comes_in_before() {
    let budget = ByteBudget::new(LIMIT);
    let running = picture(&budget, 100);
    let (mut huge, mut small, mut newcomer) =
        (body(&budget, 200), body(&budget, 90), budget.credit());
    let mut huge = Box::pin(async {
        huge.reserve_pixels(1390).await?;
        huge.keep_pixels(1390);
        Ok::<_, FetchError>(huge)
    });
    waits!(huge);
    let mut newcomer = Box::pin(newcomer.reserve(5));
    waits!(newcomer);
    // Its body must go first: it passes.
    picture_of(&mut small, 90);
    small.keep_pixels(90);
    waits!(huge);
    drop((running, small));
    drop(goes!(huge));
    goes!(newcomer);
    assert!(budget.most_used() <= LIMIT);
}

#[test]
fn two_pictures_that_fill_the_budget_each_do_not_wait_for_each_other() {
    let budget = ByteBudget::new(LIMIT);
    let (mut one, mut two) = (body(&budget, 150), body(&budget, 150));
    let mut first = Box::pin(one.reserve_pixels(1400));
    waits!(first);
    let mut second = Box::pin(two.reserve_pixels(1400));
    waits!(second);
    // Both bodies stay, so one goes beside the other's.
    goes!(first);
    drop(first);
    waits!(second);
    one.keep_pixels(1400);
    waits!(second);
    drop(one);
    goes!(second);
}

#[test]
fn a_waiter_that_gives_up_leaves_its_turn_to_the_next() {
    let budget = ByteBudget::new(LIMIT);
    let mut held = body(&budget, LIMIT);
    let (mut gives_up, mut next) = (budget.credit(), budget.credit());
    let mut first = Box::pin(gives_up.reserve(10));
    waits!(first);
    let mut second = Box::pin(next.reserve(10));
    waits!(second);
    drop(first);
    held.release();
    goes!(second);
    assert_eq!(budget.used(), 10);
}

#[test]
fn an_oversize_picture_that_gives_up_lets_bodies_in_again() {
    let budget = ByteBudget::new(LIMIT);
    let _running = picture(&budget, 100);
    let (mut huge, mut newcomer) = (body(&budget, 10), budget.credit());
    let mut waiting = Box::pin(huge.reserve_pixels(1500));
    waits!(waiting);
    let mut newcomer = Box::pin(newcomer.reserve(5));
    waits!(newcomer);
    drop(waiting);
    goes!(newcomer);
}

#[tokio::test]
async fn all_permits_are_home_once_the_last_comes_back() {
    let budget = RecordBudget::new(2);
    let (one, two) = (budget.try_take(), budget.try_take());
    assert!(one.is_some() && two.is_some() && budget.try_take().is_none());
    assert_eq!(budget.taken(), 2);
    let mut home = Box::pin(budget.all_home());
    assert!((&mut home).now_or_never().is_none());
    drop((one, two));
    home.await;
    assert_eq!(budget.taken(), 0);
}
