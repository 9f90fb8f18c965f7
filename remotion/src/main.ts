/** Entry point of the render service. */
import {existsSync} from 'node:fs';
import type {AddressInfo} from 'node:net';
import {CallbackSender} from './callbacks.ts';
import {findIsolationCommand} from './isolation.ts';
import {SITE_DIR} from './paths.ts';
import {RenderQueue} from './queue.ts';
import {createRenderServer} from './server.ts';
import {readSettings, SettingsError} from './settings.ts';
import {RenderStore} from './store.ts';

const CLEANUP_INTERVAL_MILLISECONDS = 60 * 60 * 1000;

const start = (): void => {
	const settings = readSettings(process.env);
	if (!existsSync(SITE_DIR)) {
		throw new SettingsError('The site is not built. Run npm run build.');
	}
	const store = new RenderStore(settings.stateDir);
	const isolationCommand = findIsolationCommand();
	const isIsolated = isolationCommand.length > 0;
	let serviceUrl = '';
	const callbacks = new CallbackSender(store, settings, () => serviceUrl);
	const queue = new RenderQueue(store, {settings, isolationCommand, jobsDir: store.jobsDir}, callbacks);
	const server = createRenderServer({settings, store, queue, isIsolated});
	const cleanupTimer = setInterval(() => queue.deleteExpired(), CLEANUP_INTERVAL_MILLISECONDS);
	server.on('error', (error) => {
		console.error(`The service cannot listen: ${error.message}`);
		process.exit(1);
	});
	server.listen(settings.port, settings.host, () => {
		const {port} = server.address() as AddressInfo;
		serviceUrl = `http://${settings.host.includes(':') ? `[${settings.host}]` : settings.host}:${port}`;
		// Only the process that holds the port starts renders: a second one with the same state folder exits above.
		queue.start();
		callbacks.sendDue();
		console.log(`Render service listening on ${serviceUrl}${isIsolated ? '' : ' (renders are not isolated from the network)'}`);
	});
	const stop = (): void => {
		clearInterval(cleanupTimer);
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
