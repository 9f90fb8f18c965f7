"use strict";

// Nothing is loaded from another server, and keys that are entered are forgotten with the page.
window.SwaggerUIBundle({ url: "openapi.json", dom_id: "#swagger-ui", deepLinking: true, validatorUrl: null });
