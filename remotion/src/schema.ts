/** What may be asked for: a composition by its name, its own words, and a manifest. Nothing in it is ever run. */
import {Ajv} from 'ajv';
import {type Look, type Manifest, PLAIN_LOOK} from '../film/manifest.ts';
import {timeline} from '../film/timeline.ts';

export const MAX_BODY_BYTES = 256 * 1024;
const MIN_SECONDS = 3;
const MAX_SECONDS = 180;

export type Request = {
	render_id: string;
	run_id: string | null;
	composition: string;
	props: Partial<Look>;
	manifest: Manifest;
};

const words = (most: number) => ({type: 'string', maxLength: most});
const colour = {type: 'string', pattern: '^#[0-9a-fA-F]{6}$'};
const shape = (properties: object, required: string[]) => ({type: 'object', additionalProperties: false, properties, required});

/** Every composition, and the props it takes. */
export const COMPOSITIONS: Record<string, object> = {
	shorts: shape({title: words(120), kicker: words(40), end: words(80), accent: colour}, []),
	aismr: shape({title: words(120), accent: colour}, []),
};

const MANIFEST = shape(
	{
		version: {const: 1},
		width: {type: 'integer', minimum: 16, maximum: 2160, multipleOf: 2},
		height: {type: 'integer', minimum: 16, maximum: 2160, multipleOf: 2},
		fps: {type: 'integer', minimum: 1, maximum: 60},
		crossfade_seconds: {type: 'number', minimum: 0, maximum: 5},
		loudness_lufs: {type: 'number', minimum: -40, maximum: 0},
		clips: {
			type: 'array',
			minItems: 1,
			maxItems: 24,
			items: shape(
				{
					digest: {type: 'string', pattern: '^[0-9a-f]{64}$'},
					seconds: {type: 'number', exclusiveMinimum: 0, maximum: 60},
					overlay: words(200),
				},
				['digest', 'seconds', 'overlay'],
			),
		},
	},
	['version', 'width', 'height', 'fps', 'crossfade_seconds', 'loudness_lufs', 'clips'],
);

const ajv = new Ajv({allErrors: true});
const isRequest = ajv.compile<Request>(
	shape(
		{
			render_id: {type: 'string', pattern: '^[A-Za-z0-9_-]{1,128}$'},
			run_id: {anyOf: [{type: 'string', pattern: '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'}, {type: 'null'}]},
			composition: {enum: Object.keys(COMPOSITIONS)},
			props: {type: 'object'},
			manifest: MANIFEST,
		},
		['render_id', 'run_id', 'composition', 'props', 'manifest'],
	),
);
const checks = Object.fromEntries(Object.entries(COMPOSITIONS).map(([name, schema]) => [name, ajv.compile(schema)]));

/** A request that cannot be fulfilled as it stands. */
export class Invalid extends Error {}

/** The request in `body`. Throws Invalid, which names the places that are wrong. */
export const parse = (body: string): Request => {
	let given: unknown;
	try {
		given = JSON.parse(body);
	} catch {
		throw new Invalid('The body is not JSON.');
	}
	if (!isRequest(given)) {
		throw new Invalid(`The request is wrong: ${said(isRequest.errors, '')}.`);
	}
	const check = checks[given.composition]!;
	if (!check(given.props)) {
		throw new Invalid(`The props of ${given.composition} are wrong: ${said(check.errors, '/props')}.`);
	}
	const {manifest} = given;
	const seconds = manifest.clips.reduce((sum, clip) => sum + clip.seconds, -manifest.crossfade_seconds * (manifest.clips.length - 1));
	if (seconds < MIN_SECONDS || seconds > MAX_SECONDS) {
		throw new Invalid(`A film lasts ${MIN_SECONDS} to ${MAX_SECONDS} seconds, not ${seconds.toFixed(1)}.`);
	}
	try {
		timeline(manifest);
	} catch (error) {
		throw new Invalid((error as Error).message);
	}
	return given;
};

/** The look with what was not asked for filled in. */
export const lookOf = (props: Partial<Look>): Look => ({...PLAIN_LOOK, ...props});

type Faults = typeof isRequest.errors;

const said = (faults: Faults, at: string): string =>
	(faults ?? [])
		.slice(0, 5)
		.map(({instancePath, message, params}) => {
			const extra = (params as {additionalProperty?: string}).additionalProperty;
			return `${at}${instancePath || (at ? '' : '/')} ${message}${extra ? ` (${extra.slice(0, 40)})` : ''}`;
		})
		.join('; ');
