use std::{
    pin::Pin,
    task::{Context, Poll},
};

/// Polls a future at most so often and then drops it, as a worker does that dies there: with one poll more each time a test comes
/// to every place where it can. Nothing if it was not done by then.
pub struct Mortal<F> {
    /// What is to be done.
    pub future: F,
    /// How often it is polled.
    pub polls: usize,
}

impl<F: Future + Unpin> Future for Mortal<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        if self.polls == 0 {
            return Poll::Ready(None);
        }
        self.polls -= 1;
        Pin::new(&mut self.future).poll(cx).map(Some)
    }
}
