//! The mutex, the condition variable and the atomics of the code that loom models check. With the feature
//! `loom` they come from loom, else from parking_lot and the standard library.

#[cfg(feature = "loom")]
pub(crate) use loom::sync::atomic;
#[cfg(not(feature = "loom"))]
pub(crate) use std::sync::atomic;

#[cfg(not(feature = "loom"))]
pub(crate) use parking_lot::{Condvar, Mutex};

#[cfg(feature = "loom")]
pub(crate) use model::{Condvar, Mutex};

#[cfg(feature = "loom")]
mod model {
    use std::ops::{Deref, DerefMut};

    /// The mutex of loom with the interface of parking_lot: without poisoning.
    #[derive(Debug, Default)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    /// `None` only while its thread waits at a [`Condvar`].
    #[derive(Debug)]
    pub(crate) struct MutexGuard<'a, T>(Option<loom::sync::MutexGuard<'a, T>>);

    /// The condition variable of loom with the interface of parking_lot: without spurious wake-ups.
    #[derive(Debug)]
    pub(crate) struct Condvar(loom::sync::Condvar);

    impl<T> Mutex<T> {
        /// A new mutex; only to be called in a model.
        pub(crate) fn new(value: T) -> Self {
            Mutex(loom::sync::Mutex::new(value))
        }

        /// Acquires the lock.
        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard(Some(self.0.lock().expect("a model's thread panicked")))
        }
    }

    impl Condvar {
        /// A new condition variable; only to be called in a model.
        pub(crate) fn new() -> Self {
            Condvar(loom::sync::Condvar::new())
        }

        /// Releases the lock, waits for a notification, and acquires the lock again.
        pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            let inner = guard.0.take().expect("not waiting yet");
            guard.0 = Some(self.0.wait(inner).expect("a model's thread panicked"));
        }

        /// Wakes one waiting thread.
        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }

        /// Wakes all waiting threads.
        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;

        fn deref(&self) -> &T {
            self.0.as_ref().expect("not waiting")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().expect("not waiting")
        }
    }
}
