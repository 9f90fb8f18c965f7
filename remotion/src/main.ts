/** Starts the render service. */
import {existsSync} from 'node:fs';
import type {AddressInfo} from 'node:net';
import {makeServer} from './api.ts';
import {findWall} from './apart.ts';
import {Callbacks} from './callbacks.ts';
import {SITE} from './places.ts';
import {Queue} from './queue.ts';
import {readSettings, SettingsError} from './settings.ts';
import {Store} from './store.ts';

const HOUR = 60 * 60 * 1000;

const start = (): void => {
	const settings = readSettings(process.env);
	if (!existsSync(SITE)) {
		throw new SettingsError('The site is not built: npm run build.');
	}
	const store = new Store(settings.stateDir);
	const wall = findWall();
	let address = '';
	const callbacks = new Callbacks(store, settings, () => address);
	const queue = new Queue(store, {settings, wall, jobs: store.jobs}, callbacks);
	const server = makeServer({settings, store, queue, apart: wall.length > 0});
	const sweeping = setInterval(() => queue.sweep(), HOUR);
	server.on('error', (error) => {
		console.error(`The service cannot listen: ${error.message}`);
		process.exit(1);
	});
	server.listen(settings.port, settings.host, () => {
		const {port} = server.address() as AddressInfo;
		address = `http://${settings.host.includes(':') ? `[${settings.host}]` : settings.host}:${port}`;
		// Only who holds the port takes up the renders: a second process of the same state stops here.
		queue.start();
		callbacks.wake();
		console.log(`Remotion renders at ${address}${wall.length ? '' : ' (renders are not cut off from the network here)'}`);
	});
	const stop = (): void => {
		clearInterval(sweeping);
		callbacks.close();
		server.close();
		server.closeAllConnections();
		void queue.close().then(() => process.exit(0));
	};
	process.once('SIGTERM', stop);
	process.once('SIGINT', stop);
};

try {
	start();
} catch (error) {
	if (!(error instanceof SettingsError)) {
		throw error;
	}
	console.error(error.message);
	process.exit(2);
}
