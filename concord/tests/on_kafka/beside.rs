//! A second process of Concord on the same brokers.

use crate::world::{World, free_address};
use std::{
    net::SocketAddr,
    process::{Child, Stdio},
};

/// A second process, with a folder and an address of its own.
pub struct Beside {
    pub listen: SocketAddr,
    /// Of its schema registry.
    pub registry: SocketAddr,
    data: std::path::PathBuf,
    process: Option<Child>,
}

impl Beside {
    pub fn new(world: &World, name: &str) -> Beside {
        Beside { listen: free_address(), registry: free_address(), data: world.folder.path().join(name), process: None }
    }

    pub fn launch(&mut self, world: &World, roles: &str) {
        let mut command = world.command();
        command.env("CONCORD_LISTEN", self.listen.to_string()).env("CONCORD_DATA_DIR", &self.data);
        command.env("CONCORD_REGISTRY_LISTEN", self.registry.to_string());
        command.args(["run", "--roles", roles]).stdin(Stdio::null()).stdout(Stdio::null());
        self.process = Some(command.spawn().expect("concord starts"));
    }

    pub async fn ready(&self, world: &World) {
        let url = format!("http://{}/readyz", self.listen);
        world
            .until("the second process is ready", async |w: &World| {
                w.http.get(&url).send().await.is_ok_and(|answer| answer.status().as_u16() == 200)
            })
            .await;
    }

    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.kill();
    }
}
