//! What is on its way to one client, counted in bytes: what nobody reads is kept here, and is bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// Bytes that wait to be written to a client, above which nothing more is read from it. What is over this is the
/// answers to what was read before, and live events: `MAX_UNHEARD_BYTES` bounds them.
const MAX_WAITING_BYTES: usize = 1 << 20;

/// What a connection is to do.
#[derive(Debug)]
pub enum Order {
    /// Send a text.
    Send(Arc<str>),
    /// Tell the gateway when all before it is written.
    Mark,
    /// Ask whether somebody is there.
    Ask,
    /// End, with a close code and a reason.
    Close(u16, String),
}

impl Order {
    /// Bytes of its text.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Send(text) => text.len(),
            Self::Mark | Self::Ask | Self::Close(..) => 0,
        }
    }
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: AtomicUsize,
    /// Told when some were written.
    written: Notify,
    /// Told when the connection is to end and its client does not read.
    cut: Notify,
}

/// Takes orders for a connection, from any thread.
#[derive(Clone, Debug)]
pub struct Outbox {
    orders: UnboundedSender<Order>,
    waiting: Arc<Waiting>,
}

/// Gives the orders to who writes.
pub struct Queue {
    orders: UnboundedReceiver<Order>,
    waiting: Arc<Waiting>,
}

/// Both ends.
pub fn outbox() -> (Outbox, Queue) {
    let (orders, taken) = unbounded_channel();
    let waiting = Arc::<Waiting>::default();
    (Outbox { orders, waiting: waiting.clone() }, Queue { orders: taken, waiting })
}

impl Outbox {
    /// Orders something. A connection that has ended has told so, or will.
    pub fn put(&self, order: Order) {
        self.waiting.bytes.fetch_add(order.bytes(), Ordering::Relaxed);
        if matches!(order, Order::Close(..)) && self.is_full() {
            // It is not kept for a client that has stopped reading.
            self.waiting.cut.notify_one();
        }
        let _ = self.orders.send(order);
    }

    /// Waits until the client has taken most of what it was sent.
    pub async fn room(&self) {
        while self.is_full() {
            self.waiting.written.notified().await;
        }
    }

    /// Waits until nobody writes any more.
    pub async fn closed(&self) {
        self.orders.closed().await;
    }

    fn is_full(&self) -> bool {
        self.waiting.bytes.load(Ordering::Relaxed) > MAX_WAITING_BYTES
    }
}

impl Queue {
    /// Waits for orders and takes up to `max` of them; none are left when it answers 0.
    pub async fn take(&mut self, some: &mut Vec<Order>, max: usize) -> usize {
        self.orders.recv_many(some, max).await
    }

    /// So many bytes are on the wire.
    pub fn written(&self, bytes: usize) {
        self.waiting.bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.waiting.written.notify_one();
    }

    /// Waits until the connection is to end although its client does not read.
    pub async fn cut(&self) {
        self.waiting.cut.notified().await;
    }
}
