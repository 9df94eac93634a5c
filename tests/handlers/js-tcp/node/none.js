// Modules of Node.js that packages load for what is not done here: files, names of servers, assertions.
export default {};
