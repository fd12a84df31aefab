// Runs in Thunderbird's main process. Fetches and sends as its windows do, notes every dialog that its
// user would see, and answers each: OK to a message, Cancel to a question.

const { MailServices } = ChromeUtils.importESModule("resource:///modules/MailServices.sys.mjs");
const { setTimeout } = ChromeUtils.importESModule("resource://gre/modules/Timer.sys.mjs");
const sleep = ms => new Promise(resolve => setTimeout(resolve, ms));

async function until(met) {
  for (let tries = 0; tries < 300 && !met(); tries++) {
    await sleep(50);
  }
  return met();
}

let dialogs = [];
globalThis.result = null;
Services.obs.addObserver(window => {
  const { promptType, text, button0Label, button2Label } = window.args;
  dialogs.push({ kind: promptType, text, buttons: [button0Label, button2Label].join("|") });
  const dialog = window.document.getElementById("commonDialog");
  setTimeout(() => (promptType == "alert" ? dialog.acceptDialog() : dialog.cancelDialog()), 20);
}, "common-dialog-loaded");

const mainWindow = () => Services.wm.getMostRecentWindow("mail:3pane");

globalThis.fetchMail = async (port, login) => {
  await until(() => mainWindow()?.msgWindow);
  const server = MailServices.accounts.createIncomingServer(login, "127.0.0.1", "pop3");
  server.port = port;
  server.socketType = Ci.nsMsgSocketType.plain;
  server.authMethod = Ci.nsMsgAuthMethod.passwordCleartext;
  server.password = "geheim";
  const account = MailServices.accounts.createAccount();
  account.incomingServer = server;
  const inbox = server.rootFolder.getFolderWithFlags(Ci.nsMsgFolderFlags.Inbox);
  let status = null;
  const listener = {
    QueryInterface: ChromeUtils.generateQI(["nsIUrlListener"]),
    OnStartRunningUrl() {},
    OnStopRunningUrl(url, code) {
      status = code;
    },
  };
  MailServices.pop3.GetNewMail(mainWindow().msgWindow, listener, inbox, server);
  await until(() => status !== null);
  if (status !== 0) {
    await until(() => dialogs.length);
  }
  await sleep(200); // for a second dialog
  MailServices.accounts.removeAccount(account, false);
};

globalThis.sendMail = async (port, login) => {
  await until(mainWindow);
  const server = MailServices.outgoingServer.createServer("smtp");
  const smtp = server.QueryInterface(Ci.nsISmtpServer);
  smtp.hostname = "127.0.0.1";
  smtp.port = port;
  server.username = login;
  server.socketType = Ci.nsMsgSocketType.plain;
  server.authMethod = Ci.nsMsgAuthMethod.passwordCleartext;
  server.password = "geheim";
  const identity = MailServices.accounts.createIdentity();
  identity.email = login.split("#")[0];
  identity.smtpServerKey = server.key;
  identity.doFcc = false;
  if (!MailServices.accounts.accounts.length) {
    MailServices.accounts.createLocalMailAccount();
  }
  MailServices.accounts.accounts[0].addIdentity(identity);
  const make = (contract, type) => Cc[contract].createInstance(type);
  const params = make("@mozilla.org/messengercompose/composeparams;1", Ci.nsIMsgComposeParams);
  const fields = make("@mozilla.org/messengercompose/composefields;1", Ci.nsIMsgCompFields);
  fields.to = "arzt@praxis.kim.telematik";
  fields.subject = "Befund";
  fields.body = "x";
  params.composeFields = fields;
  params.identity = identity;
  params.format = Ci.nsIMsgCompFormat.PlainText;
  let composer = null;
  const opened = {
    onOpenWindow(window) {
      const inner = window.docShell.domWindow;
      inner.addEventListener("compose-editor-ready", () => (composer = inner), { once: true });
    },
    onCloseWindow() {},
  };
  Services.wm.addListener(opened);
  MailServices.compose.OpenComposeWindowWithParams(null, params);
  await until(() => composer);
  Services.wm.removeListener(opened);
  await sleep(200); // until its recipients are in place
  composer.goDoCommand("cmd_sendNow");
  await until(() => composer.closed || (dialogs.length && !composer.gSendOperationInProgress));
  await sleep(200); // for a second dialog
  if (!composer.closed) {
    composer.gContentChanged = false;
    composer.close();
  }
  MailServices.outgoingServer.deleteServer(server);
};

// Only starts: a command that is under way when a dialog opens is given up.
globalThis.begin = (what, ...rest) => {
  dialogs = [];
  globalThis.result = null;
  const end = error => (globalThis.result = { error, dialogs });
  globalThis[what](...rest).then(() => end(null), error => end(`${error} ${error.stack}`));
};
