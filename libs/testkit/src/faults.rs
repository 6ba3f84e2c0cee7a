//! Faults on purpose, between a bus and whatever carries its messages.
//!
//! An [`Injector`] decides what goes wrong: by a table of probabilities ([`Faults`]), a seed, and at most one [`Crash`] at a
//! time. It makes [`Faulty`] transports around others, one for each program that uses the bus, as each has a connection of
//! its own. Everything that it does is what the delivery contract allows, so whoever keeps to that contract comes to the
//! same end as without faults. Only a [`Breach`] is not allowed, and a test that does not notice it is worth nothing.
//!
//! The n-th decision of the n-th transport follows from the seed. What it is about does not, when several tasks use that
//! transport at the same time.

mod faulty;
mod injector;
mod subscription;

pub use self::{
    faulty::Faulty,
    injector::{Breach, Crash, Injector},
};

/// What can go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A message is published twice.
    Duplicate,
    /// A message is held back until another one is published.
    Reorder,
    /// A message is published after a pause.
    Delay,
    /// A message is not published; it is not known whether it was.
    DropBeforeConfirm,
    /// A message is published; it is not known whether it was.
    DropAfterAccept,
    /// It is not known whether a message was published; it is, later.
    Late,
    /// A message is delivered twice, also at the same time.
    DuplicateDelivery,
    /// A message is delivered after the next one.
    ReorderDelivery,
    /// An acknowledgement is lost, which is said, and the message comes again.
    LoseAcknowledgement,
    /// An acknowledgement is lost, which nobody notices, and the message comes again.
    ForgetAcknowledgement,
    /// All that a subscription has delivered is void and comes again, to it or to another one.
    EndSession,
    /// A program dies before the bus hears what it asks for.
    CrashBefore,
    /// A program dies before it hears what the bus answers, or gives.
    CrashAfter,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Duplicate,
        Self::Reorder,
        Self::Delay,
        Self::DropBeforeConfirm,
        Self::DropAfterAccept,
        Self::Late,
        Self::DuplicateDelivery,
        Self::ReorderDelivery,
        Self::LoseAcknowledgement,
        Self::ForgetAcknowledgement,
        Self::EndSession,
        Self::CrashBefore,
        Self::CrashAfter,
    ];
}

/// How probable each fault is, from 0 to 1. The default is none at all. Crashes are not left to chance: see [`Crash`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Faults {
    /// For each message that is published.
    pub duplicate: f64,
    /// For each message that is published.
    pub reorder: f64,
    /// For each message that is published.
    pub delay: f64,
    /// For each message that is published.
    pub drop_before_confirm: f64,
    /// For each message that is published.
    pub drop_after_accept: f64,
    /// For each message that is published.
    pub late: f64,
    /// For each message that is delivered.
    pub duplicate_delivery: f64,
    /// For each message that is delivered.
    pub reorder_delivery: f64,
    /// For each acknowledgement.
    pub lose_acknowledgement: f64,
    /// For each acknowledgement.
    pub forget_acknowledgement: f64,
    /// For each message that is delivered, and for each acknowledgement.
    pub end_session: f64,
}

impl Faults {
    fn probability(&self, fault: Fault) -> f64 {
        match fault {
            Fault::Duplicate => self.duplicate,
            Fault::Reorder => self.reorder,
            Fault::Delay => self.delay,
            Fault::DropBeforeConfirm => self.drop_before_confirm,
            Fault::DropAfterAccept => self.drop_after_accept,
            Fault::Late => self.late,
            Fault::DuplicateDelivery => self.duplicate_delivery,
            Fault::ReorderDelivery => self.reorder_delivery,
            Fault::LoseAcknowledgement => self.lose_acknowledgement,
            Fault::ForgetAcknowledgement => self.forget_acknowledgement,
            Fault::EndSession => self.end_session,
            Fault::CrashBefore | Fault::CrashAfter => 0.0,
        }
    }
}
